package admin

// Sites returns the sites of the named store, the newest last.
func Sites(name string) []Site {
	sites.Lock()
	defer sites.Unlock()
	all := make([]Site, 0, len(sites.byStore[name]))
	for _, r := range sites.byStore[name] {
		all = append(all, r.Site)
	}
	return all
}
