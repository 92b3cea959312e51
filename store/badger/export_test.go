package badger

// Rest has the store rest now, and not when it is quiet.
func (s *Slots) Rest() error {
	done := make(chan error, 1)
	s.calls <- func() { done <- s.rest() }
	return <-done
}

// RestTables is Rest for tables only, beside what the writer does.
func (s *Slots) RestTables() error { return s.guard.rest() }
