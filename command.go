package xmppupload

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-xmpp/xmpp-upload/admin/command"
)

func init() {
	caddycmd.RegisterCommand(command.Command())
}
