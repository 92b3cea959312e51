package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

var rows []row

// The rows, by the things that they take most of. Those that remove many files
// are the last: ext4 makes files slowly for some time after that.
func init() {
	rows = []row{
		{name: "slots", figures: one("/s", goal{ratioAtLeast, 0.55, 1}), open: slots(16, rate)},
		{name: "serial", figures: one("ms", goal{atMost, 0.25, 0}), open: slots(1, p50)},
		{name: "history", figures: one("ms", goal{ratioAtMost, 1.2, 1}), open: history100k},
		{name: "get", figures: one("/s", goal{ratioAtLeast, 2, 1}, goal{ratioAtLeast, 0.6, 2}), open: downloads(false)},
		{name: "tls", figures: one("/s", goal{ratioAtLeast, 0.95, 1}), open: downloads(true)},
		{name: "put-small", figures: one("/s", goal{ratioAtLeast, 0.7, 1}), open: uploads(100<<10, 8, 2000)},
		{name: "wall", figures: one("/s"), open: wall},
		{name: "put-large", figures: one("/s", goal{ratioAtLeast, 1, 1}), open: uploads(10<<20, 4, 60)},
		{name: "memory", figures: one("MiB", goal{atMost, 150, 0}), open: memory},
		{name: "list", figures: one("ms"), open: list},
		{name: "watched", figures: one("/s"), open: watched},
		{name: "tended", figures: one("/s"), open: tended},
		{name: "start", figures: startFigures, open: start, rounds: 3},
		{name: "idle", figures: idleFigures, open: idle, rounds: 1},
		{name: "small", figures: smallFigures, open: small, rounds: 1},
		{name: "growth", figures: growthFigures, open: growth, rounds: 3},
		{name: "cleanup", figures: cleanupFigures, open: cleanup, rounds: 3},
	}
}

// ours is the site of this module, with all quotas on.
const ours = `
%s {
	xmpp_upload {
		allow * {
			max_file_size 1GiB
			max_total_size 1000TiB
			bytes 1000TiB per 1h
			bytes 5000TiB per 1d
			uploads 100000000 per 1h
			uploads 500000000 per 1d
		}
		put_timeout 1h
		slots badger %%DIR%%/slots
		files disk %%DIR%%/files
	}
}
`

// startOurs starts this module alone.
func (b *bench) startOurs() (*process, error) {
	addr := freeAddr()
	return b.startCaddy(fmt.Sprintf(ours, "http://"+addr), addr)
}

// side makes a side of a load. p serves it, or is nil if it is not ours.
func (b *bench) side(name string, p *process, l load, value func(measured) float64) side {
	return single(name, func() (float64, error) {
		m, err := b.run(p, l)
		return value(m), err
	})
}

// run runs a load that is what a row measures.
func (b *bench) run(p *process, l load) (m measured, err error) {
	err = b.profiler.watch(p, "", func() (err error) {
		m, err = l.run()
		return err
	})
	return m, err
}

// single makes a side of a row that has one figure.
func single(name string, measure func() (float64, error)) side {
	return side{name: name, measure: func() ([]float64, error) {
		value, err := measure()
		return []float64{value}, err
	}}
}

// get is a GET request.
func get(addr, path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr)
}

// asks returns a load's requests for slots, for the JIDs in turn.
func asks(addr string, size int64, jids ...string) func(int) net.Buffers {
	requests := make([][]byte, len(jids))
	for i, jid := range jids {
		requests[i] = get(addr, fmt.Sprintf("/slot/?jid=%s&name=holiday.jpg&size=%d&content_type=image/jpeg", jid, size))
	}
	return inTurn(requests...)
}

func inTurn(requests ...[]byte) func(int) net.Buffers {
	return func(i int) net.Buffers { return net.Buffers{requests[i%len(requests)]} }
}

func users(n int) []string {
	jids := make([]string, n)
	for i := range jids {
		jids[i] = user(i)
	}
	return jids
}

func user(i int) string { return fmt.Sprintf("user%d@example.com", i) }

func slots(conns int, value func(measured) float64) func(*bench) ([]side, error) {
	return func(b *bench) ([]side, error) {
		addr, peer := freeAddr(), freeAddr()
		respond := fmt.Sprintf("http://%s {\n\trespond \"hello\"\n}\n", peer)
		p, err := b.startCaddy(fmt.Sprintf(ours, "http://"+addr)+respond, addr, peer)
		if err != nil {
			return nil, err
		}
		l := load{addr: addr, conns: conns, time: b.duration, request: asks(addr, 1000, users(10_000)...), status: 200}
		hello := l
		hello.addr, hello.request = peer, inTurn(get(peer, "/"))
		return []side{b.side("slots", p, l, value), b.side("Caddy respond", nil, hello, value)}, nil
	}
}

// history100k compares one JID that has 100,000 slots in its windows with JIDs
// that have about 10: there are so many of these that measuring adds few.
func history100k(b *bench) ([]side, error) {
	much, little, each := b.of(100_000), 10, b.of(1000)
	p, err := b.startOurs()
	if err != nil {
		return nil, err
	}
	heavy, light := asks(p.addr, 1, "heavy@example.com"), asks(p.addr, 1, users(each)...)
	fill := load{addr: p.addr, conns: 64, count: much, request: heavy, status: 200}
	_, heavyErr := fill.run()
	fill.count, fill.request = little*each, light
	_, lightErr := fill.run()
	if err := errors.Join(heavyErr, lightErr); err != nil {
		return nil, err
	}
	one := func(request func(int) net.Buffers) load {
		return load{addr: p.addr, conns: 1, count: 2 * each, request: request, status: 200}
	}
	return []side{
		b.side(grouped(much)+" uploads", p, one(heavy), p50),
		b.side("10 uploads", nil, one(light), p50),
	}, nil
}

// take takes slots and returns their paths.
func take(addr string, size int64, count int) ([]string, error) {
	paths := make([]string, count)
	l := load{addr: addr, conns: 16, count: count, request: asks(addr, size, users(100)...), status: 200}
	l.answer = func(i int, body []byte) {
		put, _, _ := strings.Cut(string(body), "\n")
		paths[i] = strings.TrimPrefix(put, "http://"+addr)
	}
	_, err := l.run()
	return paths, err
}

// upload takes slots, uploads count bodies of size bytes over conns
// connections, and returns their paths. Only the uploads are measured.
func (b *bench) upload(p *process, size, conns, count int) (measured, []string, error) {
	paths, err := take(p.addr, int64(size), count)
	if err != nil {
		return measured{}, nil, err
	}
	if err := flushDisk(); err != nil {
		return measured{}, nil, err
	}
	m, err := b.run(p, put(p.addr, paths, size, conns))
	return m, paths, err
}

func put(addr string, paths []string, size, conns int) load {
	body := bytes.Repeat([]byte("0123456789abcdef"), (size+15)/16)[:size]
	return load{
		addr: addr, conns: conns, count: len(paths), status: 201,
		request: func(i int) net.Buffers {
			head := fmt.Appendf(nil, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n",
				paths[i], addr, size)
			return net.Buffers{head, body}
		},
	}
}

// uploads compares PUTs, each time with a new process and fresh directories.
func uploads(size, conns, most int) func(*bench) ([]side, error) {
	return func(b *bench) ([]side, error) {
		count := b.of(most)
		return []side{
			single("uploads, durable", func() (float64, error) {
				p, err := b.startOurs()
				if err != nil {
					return 0, err
				}
				defer p.stop()
				if err := makeShards(filepath.Join(p.dir, "files")); err != nil {
					return 0, err
				}
				m, _, err := b.upload(p, size, conns, count)
				return m.perSecond, err
			}),
			single("as prosody-filer, not durable", func() (float64, error) { return b.uploadToStandin("standin", size, conns, count) }),
			single("bare copy, not durable", func() (float64, error) { return b.uploadToStandin("copy", size, conns, count) }),
		}, nil
	}
}

// uploadToStandin returns how many uploads a stand-in takes in a second.
func (b *bench) uploadToStandin(kind string, size, conns, count int) (float64, error) {
	addr := freeAddr()
	p, err := b.startStandin(kind, addr)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	paths := make([]string, count)
	for i := range paths {
		path := fmt.Sprintf("%08x-d136-4816-bf27-7b9fff47d007/holiday.jpg", i)
		paths[i] = "/" + path + "?v=" + sign(path, int64(size))
	}
	if err := flushDisk(); err != nil {
		return 0, err
	}
	m, err := put(addr, paths, size, conns).run()
	return m.perSecond, err
}

// makeShards makes the directories that a files store makes as it goes: one
// that is in use has them.
func makeShards(dir string) error {
	const alphabet = "0123456789abcdefghijklmnopqrstuv"
	for i := range len(alphabet) * len(alphabet) {
		name := string([]byte{alphabet[i/len(alphabet)], alphabet[i%len(alphabet)]})
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func downloads(overTLS bool) func(*bench) ([]side, error) {
	return func(b *bench) ([]side, error) {
		const size, files = 100 << 10, 64
		plain, measured, peer := freeAddr(), freeAddr(), freeAddr()
		scheme := "http://"
		if overTLS {
			scheme = "https://" // localhost gets a certificate of Caddy's own
		}
		root := filepath.Join(b.dir, "root")
		if err := os.MkdirAll(root, 0o755); err != nil {
			return nil, err
		}
		for i := range files {
			if err := os.WriteFile(filepath.Join(root, static(i)), make([]byte, size), 0o644); err != nil {
				return nil, err
			}
		}
		sites := fmt.Sprintf(ours, "http://"+plain) + fmt.Sprintf(ours, scheme+measured) +
			fmt.Sprintf("%s {\n\troot %s\n\tfile_server\n}\n", scheme+peer, root)
		p, err := b.startCaddy(sites, plain, measured, peer)
		if err != nil {
			return nil, err
		}
		_, paths, err := b.upload(p, size, 4, files)
		if err != nil {
			return nil, err
		}
		fetch := func(name string, p *process, addr string, path func(i int) string) side {
			requests := make([][]byte, files)
			for i := range requests {
				requests[i] = get(addr, path(i))
			}
			return b.side(name, p, load{addr: addr, tls: overTLS, conns: 16, time: b.duration, request: inTurn(requests...), status: 200}, rate)
		}
		ours := fetch("downloads", p, measured, func(i int) string { return paths[i] })
		sides := []side{ours, fetch("Caddy file_server", nil, peer, static)}
		nginx, err := exec.LookPath("nginx")
		if err != nil || overTLS {
			return sides, nil
		}
		addr := freeAddr()
		if _, err := b.startNginx(nginx, root, addr); err != nil {
			return nil, err
		}
		return append(sides, fetch("nginx", nil, addr, static)), nil
	}
}

func static(i int) string { return fmt.Sprintf("/%d.jpg", i) }
