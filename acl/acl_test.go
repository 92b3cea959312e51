package acl_test

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-xmpp/xmpp-upload/acl"
)

func compile(t rapid.TB, rules ...[]string) *acl.List {
	t.Helper()
	l, err := acl.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func bare(t rapid.TB, s string) string {
	t.Helper()
	b, err := acl.ParseBare(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPatternsMatch(t *testing.T) {
	for _, tc := range []struct {
		name, pattern string
		yes, no       []string
	}{
		{
			"a user", "blocked@example.com",
			[]string{"blocked@example.com", "Blocked@Example.com", "blocked@example.com/phone", "ｂlocked@example.com", "blocked@example.com."},
			[]string{"other@example.com", "example.com", "blocked@sub.example.com", "xblocked@example.com"},
		},
		{"a user written in another case", "Blocked@EXAMPLE.com", []string{"blocked@example.com"}, []string{"example.com"}},
		{
			"a domain", "example.com",
			[]string{"a@example.com", "example.com", "a@EXAMPLE.com."},
			[]string{"a@sub.example.com", "a@xexample.com", "a@example.com.org", "com"},
		},
		{"a domain with a final dot", "Example.com.", []string{"a@example.com"}, nil},
		{"a domain of one label", "localhost", []string{"a@localhost"}, []string{"a@host"}},
		{
			"subdomains", "*.example.com",
			[]string{"a@sub.example.com", "a@a.b.example.com", "Sub.Example.com"},
			[]string{"a@example.com", "example.com", "a@xexample.com", "a@com"},
		},
		{"everyone", "*", []string{"a@example.com", "example.com", "a@[::1]"}, nil},
		{
			"an expression anywhere in the bare JID", "~guest[0-9]+@",
			[]string{"guest7@example.org", "xguest12@example.com", "Guest7@example.org"},
			[]string{"guest@example.org", "a@b/guest7@"},
		},
		{"an anchored expression", `~^guest[0-9]{3}@example\.org$`, []string{"guest123@example.org"}, []string{"guest12@example.org", "xguest123@example.org", "guest123@example.org.uk"}},
		{"an expression that finds bare domains", "~^[^@]+$", []string{"example.com"}, []string{"a@example.com"}},
		{"an international domain", "münchen.example", []string{"a@xn--mnchen-3ya.example", "a@MÜNCHEN.example"}, []string{"a@munchen.example"}},
		{"an international domain as A-label", "XN--mnchen-3ya.example", []string{"a@münchen.example", "a@xn--mnchen-3ya.example"}, []string{"a@munchen.example"}},
		{"subdomains of an A-label", "*.xn--mnchen-3ya.example", []string{"a@sub.münchen.example"}, []string{"a@münchen.example"}},
		{"an international user", "JÜRGEN@localhost", []string{"jürgen@localhost", "ju\u0308rgen@localhost"}, []string{"jurgen@localhost"}},
		{"an escaped user", `d\27artagnan@localhost`, []string{`d\27artagnan@localhost`}, nil},
		{"an IP address", "[::1]", []string{"a@[::1]"}, []string{"a@[::2]"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := compile(t, []string{tc.pattern})
			for _, jid := range tc.yes {
				if rule, pattern, ok := l.Match(bare(t, jid)); !ok || rule != 0 || pattern != tc.pattern {
					t.Errorf("Match(%q) = %d, %q, %t", jid, rule, pattern, ok)
				}
			}
			for _, jid := range tc.no {
				if rule, pattern, ok := l.Match(bare(t, jid)); ok || rule != -1 || pattern != "" {
					t.Errorf("Match(%q) = %d, %q, %t", jid, rule, pattern, ok)
				}
			}
		})
	}
}

func TestFirstMatchDecides(t *testing.T) {
	l := compile(t,
		[]string{"admin@example.com"},
		[]string{"~^spam"},
		[]string{"blocked@example.com", "example.com"},
		[]string{"*.example.net", "sub.example.net"},
		[]string{"a@sub.example.net", "*"},
	)
	for jid, want := range map[string]string{
		"admin@example.com":   "0 admin@example.com",
		"spam@example.com":    "1 ~^spam",
		"blocked@example.com": "2 blocked@example.com",
		"other@example.com":   "2 example.com",
		"a@sub.example.net":   "3 *.example.net",
		"a@example.net":       "4 *",
	} {
		rule, pattern, _ := l.Match(jid)
		if got := fmt.Sprint(rule, " ", pattern); got != want {
			t.Errorf("Match(%q) = %s, want %s", jid, got, want)
		}
	}
}

func TestNoRuleMatchesNobody(t *testing.T) {
	if _, _, ok := compile(t).Match("a@example.com"); ok {
		t.Error("an empty list matches")
	}
}

func TestWrongPatternsTellTheRemedy(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                        "want user@example.com, example.com, *.example.com",
		"~":                       `"*" matches everyone`,
		"~[":                      "missing closing ]",
		"~(?=x)":                  "invalid or unsupported Perl syntax",
		"@example.com":            "a domain alone matches all of its users",
		"*@example.com":           "use example.com for all users of a domain",
		"guest*@example.com":      `"~expression" for anything else`,
		"*example.com":            `"*" stands alone or begins`,
		"*.*.example.com":         `"*" stands alone or begins`,
		"*.":                      "want user@",
		"*.a@example.com":         "want user@",
		"a@*.example.com":         `"*" stands alone or begins`,
		"a@example.com/phone":     "leave out what begins with the slash",
		"example.com/":            "leave out what begins with the slash",
		"a@":                      "want user@",
		"a@b@c":                   "want user@",
		"a..b":                    "empty label",
		".example.com":            "empty label",
		"*..example.com":          "empty label",
		"^guest@":                 "want user@",
		"a b@example.com":         "want user@",
		"a@example.com,b":         "want user@",
		"xmpp:a@example.com":      "want user@",
		"a@exa\xffmple.com":       "want user@",
		strings.Repeat("x", 2000): "want user@",
	} {
		err := acl.Check(pattern)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check(%q) = %v, want an error that contains %q", pattern, err, want)
		}
		_, err = acl.Compile([][]string{{"*"}, {"example.com", pattern}})
		if at := (*acl.PatternError)(nil); !errors.As(err, &at) || at.Rule != 1 || at.Index != 1 {
			t.Errorf("Compile with %q = %v, want an error at pattern 1 of rule 1", pattern, err)
		}
	}
}

func TestCoveredPatternsAreReported(t *testing.T) {
	for _, tc := range []struct {
		name           string
		earlier, later string
		covered        bool
	}{
		{"everyone covers a user", "*", "a@example.com", true},
		{"everyone covers everyone", "*", "*", true},
		{"everyone covers an expression", "*", "~x", true},
		{"everyone covers subdomains", "*", "*.example.com", true},
		{"the same user in another case", "A@Example.com", "a@example.com", true},
		{"the same domain in another encoding", "münchen.example", "xn--mnchen-3ya.example", true},
		{"the same expression", "~^x", "~^x", true},
		{"a domain covers its user", "example.com", "a@example.com", true},
		{"subdomains cover a subdomain", "*.example.com", "sub.example.com", true},
		{"subdomains cover a subdomain's user", "*.example.com", "a@x.sub.example.com", true},
		{"subdomains cover deeper ones", "*.example.com", "*.sub.example.com", true},
		{"subdomains cover themselves", "*.example.com", "*.Example.com", true},
		{"an expression covers a user", "~^spam", "spammer@example.com", true},
		{"subdomains do not cover the domain", "*.example.com", "example.com", false},
		{"a domain does not cover subdomains", "example.com", "*.example.com", false},
		{"a domain does not cover a subdomain", "example.com", "sub.example.com", false},
		{"a user does not cover its domain", "a@example.com", "example.com", false},
		{"deeper subdomains do not cover", "*.sub.example.com", "*.example.com", false},
		{"nothing but everyone covers everyone", "example.com", "*", false},
		{"another expression does not cover", "~^x", "~^xy", false},
		{"an expression does not cover a domain", "~.", "example.com", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var want []acl.Covered
			if tc.covered {
				want = []acl.Covered{{Rule: 1, Pattern: tc.later, By: 0, ByPattern: tc.earlier}}
			}
			if got := compile(t, []string{tc.earlier}, []string{tc.later}).Covered(); !reflect.DeepEqual(got, want) {
				t.Errorf("Covered() = %+v, want %+v", got, want)
			}
			if got := compile(t, []string{tc.earlier, tc.later}).Covered(); got != nil {
				t.Errorf("Covered() = %+v for patterns of one rule, want none", got)
			}
		})
	}
}

// scan is what a list must do, done the slow way.
func scan(rules [][]string, bare string) (int, string, bool) {
	_, domain, isUser := strings.Cut(bare, "@")
	if !isUser {
		domain = bare
	}
	for i, patterns := range rules {
		for _, p := range patterns {
			matches := p == "*" || p == bare || p == domain
			if expr, ok := strings.CutPrefix(p, "~"); ok {
				matches = regexp.MustCompile(expr).MatchString(bare)
			} else if parent, ok := strings.CutPrefix(p, "*"); ok {
				matches = matches || p != "*" && strings.HasSuffix(domain, parent)
			}
			if matches {
				return i, p, true
			}
		}
	}
	return -1, "", false
}

func TestMatchIsAScanInOrder(t *testing.T) {
	domains := rapid.SampledFrom([]string{"a.b.c", "b.c", "c", "x.b.c", "xb.c", "ü.c"})
	users := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"u", "v", "ü", "u.b"}).Draw(t, "local") + "@" + domains.Draw(t, "domain")
	})
	patterns := rapid.OneOf(domains, users,
		rapid.Map(domains, func(d string) string { return "*." + d }),
		rapid.SampledFrom([]string{"~^u", "~b", `~\.c$`, "~@ü", "~^[^@]*$", "~^v@a", "~u", "*"}))
	rules := rapid.SliceOfN(rapid.SliceOfN(patterns, 1, 4), 0, 8)

	rapid.Check(t, func(t *rapid.T) {
		r := rules.Draw(t, "rules")
		l := compile(t, r...)
		covered := make(map[string]bool)
		for _, c := range l.Covered() {
			covered[fmt.Sprint(c.Rule, c.Pattern)] = true
		}
		for range 10 {
			jid := rapid.OneOf(domains, users).Draw(t, "jid")
			rule, pattern, ok := l.Match(jid)
			wantRule, wantPattern, wantOK := scan(r, jid)
			if rule != wantRule || pattern != wantPattern || ok != wantOK {
				t.Errorf("%v.Match(%q) = %d, %q, %t, want %d, %q, %t", r, jid, rule, pattern, ok, wantRule, wantPattern, wantOK)
			}
			if covered[fmt.Sprint(wantRule, wantPattern)] {
				t.Errorf("%v: pattern %q of rule %d decides for %q, and was reported as covered", r, wantPattern, wantRule, jid)
			}
		}
	})
}

func FuzzPatterns(f *testing.F) {
	for _, s := range []string{"*", "*.example.com", "a@example.com", "example.com", "~^a{2}$", "~", "*.", "*.*", "A@MÜNCHEN.de", "a/b", "[::1]", "\xff"} {
		f.Add(s, "a@example.com")
	}
	f.Fuzz(func(t *testing.T, pattern, jid string) {
		l, err := acl.Compile([][]string{{pattern}})
		if (err == nil) != (acl.Check(pattern) == nil) {
			t.Fatalf("Compile and Check differ about %q: %v", pattern, err)
		}
		if err != nil {
			return
		}
		b, err := acl.ParseBare(jid)
		if err != nil {
			return
		}
		l.Match(b)
		// The pattern that is the JID itself, in whatever spelling, matches it.
		if same, err := acl.Compile([][]string{{jid}}); err == nil && jid[0] != '~' && jid[0] != '*' {
			if _, _, ok := same.Match(b); !ok {
				t.Errorf("pattern %q does not match %q", jid, b)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var rules [][]string
	for i := range 10_000 {
		rules = append(rules, []string{fmt.Sprintf("user%d@example%d.com", i, i)})
	}
	l, err := acl.Compile(append(rules, []string{"*.example.net"}))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l.Match("alice@chat.example.net")
	}
}
