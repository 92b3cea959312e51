// Command caddy is Caddy with its standard modules and xmpp_upload.
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-xmpp/xmpp-upload"
)

func main() {
	caddycmd.Main()
}
