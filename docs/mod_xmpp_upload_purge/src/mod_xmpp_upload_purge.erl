%% When an account is removed, tells the upload service to remove what that
%% user has stored there. Works with ejabberd 23.01 and others of its time.
-module(mod_xmpp_upload_purge).
-behaviour(gen_mod).

-export([start/2, stop/1, depends/2, mod_opt_type/1, mod_options/1, mod_doc/0, remove_user/2]).

-include("logger.hrl").

start(Host, _Opts) ->
    {ok, _} = application:ensure_all_started(inets),
    ejabberd_hooks:add(remove_user, Host, ?MODULE, remove_user, 50).

stop(Host) ->
    ejabberd_hooks:delete(remove_user, Host, ?MODULE, remove_user, 50).

depends(_Host, _Opts) -> [].

%% admin_url is the address of Caddy's admin endpoint.
mod_opt_type(admin_url) -> econf:url().

mod_options(_Host) -> [{admin_url, <<"http://localhost:2019">>}].

mod_doc() -> #{}.

%% The account's removal does not wait for the service.
remove_user(User, Server) ->
    Admin = gen_mod:get_module_opt(Server, ?MODULE, admin_url),
    spawn(fun() -> purge(Admin, <<User/binary, "@", Server/binary>>) end).

purge(Admin, JID) ->
    URL = <<Admin/binary, "/xmpp_upload/users/", (uri_string:quote(JID))/binary>>,
    Request = {binary_to_list(URL), []},
    case httpc:request(delete, Request, [{timeout, 60000}, {autoredirect, false}], []) of
        {ok, {{_, 200, _}, _, _}} ->
            ok;
        Other ->
            ?ERROR_MSG("The uploads of ~ts are still there; "
                       "remove them with `caddy xmpp-upload purge ~ts`: ~p", [JID, JID, Other])
    end.
