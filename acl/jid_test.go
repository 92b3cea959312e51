package acl_test

import (
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/acl"
)

func TestParseBare(t *testing.T) {
	for in, want := range map[string]string{
		"alice@example.com":              "alice@example.com",
		"Alice@Example.COM":              "alice@example.com",
		"alice@example.com/Phone 1":      "alice@example.com",
		"alice@example.com.":             "alice@example.com",
		"alice@example.com/a@b/c":        "alice@example.com",
		"example.com":                    "example.com",
		"example.com/res":                "example.com",
		"localhost":                      "localhost",
		"jürgen@localhost":               "jürgen@localhost",
		"JU\u0308RGEN@localhost":         "jürgen@localhost",
		"a@xn--mnchen-3ya.de":            "a@münchen.de",
		"a@MÜNCHEN.DE":                   "a@münchen.de",
		"ａ@ｂ.com":                        "a@b.com",
		`d\27artagnan@localhost`:         `d\27artagnan@localhost`,
		"a@192.0.2.1":                    "a@192.0.2.1",
		"a@[2001:db8::1]":                "a@[2001:db8::1]",
		"~a*!#$%^(){}=+|.,;?@b.com":      "~a*!#$%^(){}=+|.,;?@b.com",
		strings.Repeat("a", 1023) + "@b": strings.Repeat("a", 1023) + "@b",
	} {
		if got, err := acl.ParseBare(in); err != nil || got != want {
			t.Errorf("ParseBare(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestParseBareRefusesWhatIsNoJID(t *testing.T) {
	for _, in := range []string{
		"", "@", "@example.com", "alice@", "alice@example.com/", "/res", "a@b@c", "a b@example.com",
		"alice@exa mple.com", "alice@a..b", "alice@.b", "alice@b..", ".", "alice@b:5222", "al\x00ice@b",
		"alice@-b.com", "alice@xn--a.com", "al\"ice@b", "al'ice@b", "<alice@b>", "alice@\xff", "\xff@b", "a@b/\xff",
		strings.Repeat("a", 1024) + "@b",
	} {
		got, err := acl.ParseBare(in)
		if err == nil || !strings.Contains(err.Error(), "is not a valid JID") || got != "" {
			t.Errorf("ParseBare(%q) = %q, %v, want an error", in, got, err)
		}
	}
}

func FuzzParseBare(f *testing.F) {
	for _, s := range []string{"alice@example.com/x", "Ü@xn--mnchen-3ya.de", "a@[::1]", "a..b", "\xff", "ａ@ｂ。com"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		bare, err := acl.ParseBare(s)
		if err != nil {
			return
		}
		if again, err := acl.ParseBare(bare); err != nil || again != bare {
			t.Errorf("ParseBare(%q) = %q, but of that %q, %v", s, bare, again, err)
		}
		if strings.Contains(bare, "/") || strings.Count(bare, "@") > 1 {
			t.Errorf("ParseBare(%q) = %q is not bare", s, bare)
		}
	})
}

func BenchmarkParseBare(b *testing.B) {
	for b.Loop() {
		if _, err := acl.ParseBare("alice@example.com"); err != nil {
			b.Fatal(err)
		}
	}
}
