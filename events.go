package xmppupload

import (
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// emitRemoved tells subscribers that an upload was removed.
func (h *Handler) emitRemoved(slot store.Slot, reason cleanup.Reason) {}
