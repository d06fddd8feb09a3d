package commands

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"godwit/schema/event"

	"pgregory.net/rapid"
)

func TestNormalName(t *testing.T) {
	for name, want := range map[string]string{
		"Alice":         "alice",
		"ALICE":         "alice",
		"A\u0308nne":    "\u00e4nne",     // composed
		"\u212bngstrom": "\u00e5ngstrom", // the sign for the unit is the letter
		"\u0130stanbul": "istanbul",
		"J\u030c":       "\u01f0", // only the small letter has a composed form
		"雁":             "雁",
		"":              "",
		" a ":           " a ",
	} {
		if got := NormalName(name); got != want {
			t.Errorf("NormalName(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestANormalNameIsItsOwnNormalName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		once := NormalName(rapid.OneOf(rapid.String(), rapid.StringOf(rapid.RuneFrom([]rune("aAiIjJ\u030c\u0130\u0131\u0307\u0308\u0345ΣσςǅßẞK雁\u1100\u1161")))).Draw(t, "name"))
		if twice := NormalName(once); twice != once {
			t.Fatalf("%q becomes %q", once, twice)
		}
	})
}

func TestCutKeepsWholeCharactersOfValidText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + rapid.String().Draw(t, "text")
		limit := rapid.IntRange(0, 20).Draw(t, "limit")
		got := cut(text, limit)
		valid := strings.ToValidUTF8(text, "\ufffd")
		if len(got) > limit || !utf8.ValidString(got) || !strings.HasPrefix(valid, got) || (len(got) < limit-3 && got != valid) {
			t.Fatalf("cut(%q, %d) = %q", text, limit, got)
		}
	})
}

func TestDevicePolicy(t *testing.T) {
	for _, c := range []struct {
		text  string
		login event.DeviceClass
		want  []event.DeviceClass
	}{
		{"desktop,mobile", desktop, []event.DeviceClass{desktop}},
		{"desktop,mobile", mobile, []event.DeviceClass{mobile}},
		{"desktop,mobile", web, nil},
		{"desktop,mobile,web", web, []event.DeviceClass{web}},
		{"desktop,mobile,web", desktop, []event.DeviceClass{desktop}},
		{"desktop+mobile", mobile, []event.DeviceClass{desktop, mobile}},
		{"mobile+desktop,desktop+web", desktop, []event.DeviceClass{desktop, mobile, web}},
		{"mobile+desktop,desktop+web", web, []event.DeviceClass{desktop, web}},
		{"none", desktop, nil},
	} {
		p, err := ParseDevicePolicy(c.text)
		if err != nil || p.String() != c.text {
			t.Errorf("%q is read as %q, %v", c.text, p, err)
		}
		if got := p.Replaces(c.login); !slices.Equal(got, c.want) {
			t.Errorf("%q: a login of %s replaces %v, want %v", c.text, c.login, got, c.want)
		}
	}
	if got := DefaultDevicePolicy().String(); got != "desktop,mobile,web" {
		t.Errorf("default is %q", got)
	}
	for _, text := range []string{"", "phone", "desktop,", "desktop+desktop", "desktop mobile", "none,mobile"} {
		if p, err := ParseDevicePolicy(text); !errors.Is(err, ErrDevicePolicy) || !strings.Contains(err.Error(), `"`+text+`"`) {
			t.Errorf("%q is read as %q, %v", text, p, err)
		}
	}
}

func TestReplacesLeavesThePolicyAlone(t *testing.T) {
	p := DevicePolicy{{mobile, desktop}}
	p.Replaces(mobile)
	if !slices.Equal(p[0], []event.DeviceClass{mobile, desktop}) {
		t.Errorf("the policy became %v", p)
	}
}
