package content

import (
	"bytes"
	"crypto/aes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
)

// golden was made by the original clients' own crypto library.
var golden = []struct{ text, data string }{
	{"a", "8+lyaGSNdKxdsEEADyYxvw=="},
	{"hello", "nnZSBwfPCz60q69ddmfIJA=="},
	{"hello world!", "B4ARdOHy4UktX4x32eJ3vQ=="},
	{"hello world!!", "7W7M97iH/ULKFoq4Tji+uwr+GZ43+2mMfQMFqTsGBjY="},
	{"0123456789abcdef", "BY1wZOT9JPljcE5qNjw9cQfU6OB7fpsvZh6GP3dYB9g="},
	{"你好", "UKheN9KmjZEOcj7ZdGedvw=="},
	{"[语音]", "QhGXlpFjvMFUNrtl1aaPzA=="},
	{"&$#@~^@[{:http://127.0.0.1:8700/g0/000/000/1.png:}]&$~@#@",
		"dgjzZcuwYVvgiMtBlzoa8eN8fHjZTwqiCiw3dkhroNnghL/8YXz41O16OvQpqunilQqpRdqEzFToT0edbMXMXw=="},
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		if got := string(EncryptText(g.text)); got != g.data {
			t.Errorf("EncryptText(%q) = %s, want %s", g.text, got, g.data)
		}
		if got, err := DecryptText([]byte(g.data)); err != nil || got != g.text {
			t.Errorf("DecryptText(%s) = %q, %v, want %q", g.data, got, err, g.text)
		}
	}
	if got := string(EncryptText("[语音]")); got != VoicePreview {
		t.Errorf("VoicePreview = %s, want %s", VoicePreview, got)
	}
	if got := Picture("http://127.0.0.1:8700/g0/000/000/1.png"); got != golden[7].text {
		t.Errorf("Picture = %s", got)
	}
}

// The password of a login is hashed by the client; storage in the original's table adds a salt.
func TestPasswordGolden(t *testing.T) {
	wire := md5.Sum([]byte("12345"))
	if got, want := hex.EncodeToString(wire[:]), "827ccb0eea8a706c4c34a16891f84e7b"; got != want {
		t.Errorf("on the wire %s, want %s", got, want)
	}
	stored := md5.Sum([]byte("827ccb0eea8a706c4c34a16891f84e7b" + "1234"))
	if got, want := hex.EncodeToString(stored[:]), "e63d43d38a008d9ca3cfdef06f6ac223"; got != want {
		t.Errorf("stored %s, want %s", got, want)
	}
}

func TestEveryLengthRoundTrips(t *testing.T) {
	for n := range 200 {
		text := strings.Repeat("x", n)
		data := EncryptText(text)
		// One more block for the length whenever fewer than four bytes of padding, or none at all, are left.
		blocks := (n + 15) / 16
		if n%16 == 0 || n%16 > 12 {
			blocks++
		}
		if want := base64.StdEncoding.EncodedLen(blocks * 16); len(data) != want {
			t.Errorf("%d bytes of text: %d of data, want %d", n, len(data), want)
		}
		if got, err := DecryptText(data); err != nil || got != text {
			t.Errorf("%d bytes of text: %d back, %v", n, len(got), err)
		}
	}
	if n := len(EncryptText(strings.Repeat("x", MaxText))); n != 4096 {
		t.Errorf("the longest text takes %d characters, want 4096", n)
	}
	if n := len(EncryptText(strings.Repeat("x", MaxText+1))); n <= 4096 {
		t.Errorf("a text over the limit takes %d characters", n)
	}
}

func TestDecryptIsTolerantOfBase64(t *testing.T) {
	for _, data := range []string{
		"nnZSBwfPCz60q69ddmfIJA",
		" nnZSBwfPCz60\r\nq69ddm\tfIJA==\n",
		"nnZSBwfPCz60=q69ddmfIJA=",
	} {
		if got, err := DecryptText([]byte(data)); err != nil || got != "hello" {
			t.Errorf("DecryptText(%q) = %q, %v", data, got, err)
		}
	}
}

// encrypted makes blocks that claim to hold a text of n bytes.
func encrypted(blocks int, n uint32) []byte {
	b := make([]byte, blocks*aes.BlockSize)
	binary.BigEndian.PutUint32(b[len(b)-4:], n)
	for i := 0; i < len(b); i += aes.BlockSize {
		block.Encrypt(b[i:], b[i:])
	}
	return []byte(base64.StdEncoding.EncodeToString(b))
}

func TestDecryptRefuses(t *testing.T) {
	if _, err := DecryptText(encrypted(1, 12)); err != nil {
		t.Errorf("12 bytes in a block: %v", err)
	}
	if _, err := DecryptText(encrypted(2, 28)); err != nil {
		t.Errorf("28 bytes in two blocks: %v", err)
	}
	for name, data := range map[string][]byte{
		"empty":                        {},
		"only padding":                 []byte("===="),
		"not base64":                   []byte("hello, world"),
		"one character too many":       []byte("nnZSBwfPCz60q69ddmfIJAAAA"),
		"not a whole block":            []byte("nnZSBwfPCz60q69ddmfI"),
		"bytes that are not UTF-8":     {0xff, 0xfe, 0xfd},
		"length into the length bytes": encrypted(1, 13),
		"length of the whole buffer":   encrypted(2, 32),
		"length into two blocks' last": encrypted(2, 29),
		"length beyond the buffer":     encrypted(1, 1<<31),
		"largest length":               encrypted(1, 1<<32-1),
	} {
		if got, err := DecryptText(data); !errors.Is(err, ErrNotText) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestParts(t *testing.T) {
	words := func(s string) Part { return Part{Text: s} }
	picture := func(s string) Part { return Part{Text: s, Picture: true} }
	for _, c := range []struct {
		text string
		want []Part
	}{
		{"", nil},
		{"hello", []Part{words("hello")}},
		{Picture("http://a/1.png"), []Part{picture("http://a/1.png")}},
		{"see " + Picture("u") + " and " + Picture("v") + "!",
			[]Part{words("see "), picture("u"), words(" and "), picture("v"), words("!")}},
		{Picture("u") + Picture("v"), []Part{picture("u"), picture("v")}},
		{"open " + PictureOpen + "u", []Part{words("open " + PictureOpen + "u")}},
		{"u" + PictureClose, []Part{words("u" + PictureClose)}},
		{Picture("u") + PictureOpen, []Part{picture("u"), words(PictureOpen)}},
	} {
		got := slices.Collect(Parts(c.text))
		if !slices.Equal(got, c.want) {
			t.Errorf("Parts(%q) = %v, want %v", c.text, got, c.want)
		}
		for range Parts(c.text) { // a reader may stop early
			break
		}
	}
}

func TestVoice(t *testing.T) {
	data := AppendVoice(nil, 60, []byte("OggS"))
	if want := []byte("\x00\x00\x00\x3cOggS"); !bytes.Equal(data, want) {
		t.Errorf("AppendVoice = %x, want %x", data, want)
	}
	seconds, audio, err := ParseVoice(data)
	if seconds != 60 || string(audio) != "OggS" || err != nil {
		t.Errorf("ParseVoice = %d, %q, %v", seconds, audio, err)
	}
	for n := range 5 {
		if _, _, err := ParseVoice(data[:n]); !errors.Is(err, ErrNotVoice) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func FuzzDecryptText(f *testing.F) {
	for _, g := range golden {
		f.Add([]byte(g.data))
	}
	f.Add(encrypted(1, 13))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := DecryptText(data)
		if err != nil {
			return
		}
		if back, err := DecryptText(EncryptText(text)); err != nil || back != text {
			t.Errorf("%q became %q, %v", text, back, err)
		}
	})
}
