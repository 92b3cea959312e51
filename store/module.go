package store

// SlotsModule is what a Caddy module of the namespace http.xmpp_upload.slots
// implements.
type SlotsModule interface {
	// Key names the place of the store: modules with equal keys share it.
	Key() string
	// AcquireSlots opens the store, or shares it if it is open. The caller
	// releases it, once.
	AcquireSlots() (*Ref[Slots], error)
}

// FilesModule is what a Caddy module of the namespace http.xmpp_upload.files
// implements.
type FilesModule interface {
	// Key names the place of the store: modules with equal keys share it.
	Key() string
	// AcquireFiles opens the store, or shares it if it is open. The caller
	// releases it, once.
	AcquireFiles() (*Ref[Files], error)
	// Public makes the tree readable to other users of the machine, for a
	// web server of theirs. It is called at most once, before AcquireFiles.
	Public()
}
