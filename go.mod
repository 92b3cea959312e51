module github.com/caddy-xmpp/xmpp-upload

go 1.26.0
