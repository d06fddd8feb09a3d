// Package content is what stands inside the msg_data of a message: encrypted text, pictures in text, and voice.
//
// The server stores and forwards msg_data as it came, byte for byte. It looks inside only for previews, pushes, search
// and its own client.
//
// Text is UTF-8, encrypted with AES-256 in ECB mode under one key that every TeamTalk client and server has, and then in
// base64. This hides nothing from anybody; it is only the form that clients expect. The padding is the protocol's own:
// zeros up to a multiple of 16 bytes, of which the last four are the length of the text, big-endian.
//
// A picture is the address of an uploaded file between two marks, anywhere in a text. Voice is four bytes of duration in
// seconds, big-endian, and the audio, neither encrypted nor in base64.
package content

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode"
)

const (
	// MaxText is the longest text in bytes whose msg_data fits the 4096 characters that original servers store.
	MaxText = 3068

	// VoicePreview stands for a voice message in conversation lists: the msg_data of the text "[语音]".
	VoicePreview = "QhGXlpFjvMFUNrtl1aaPzA=="

	// PictureOpen and PictureClose are the marks around a picture's address.
	PictureOpen  = "&$#@~^@[{:"
	PictureClose = ":}]&$~@#@"
)

var (
	// ErrNotText: the msg_data is no encrypted text.
	ErrNotText = errors.New("content is not encrypted text")
	// ErrNotVoice: the msg_data is no voice message.
	ErrNotVoice = errors.New("content is not voice")
)

// lengthSize is the size of the text's length at the end of the last block.
const lengthSize = 4

var block = func() cipher.Block {
	// The key is public: every client has it built in.
	b, err := aes.NewCipher([]byte("12345678901234567890123456789012"))
	if err != nil {
		panic(err) // the key has a length that AES knows
	}
	return b
}()

// EncryptText makes the msg_data of a text.
func EncryptText(text string) []byte {
	n := len(text)
	size := (n + aes.BlockSize - 1) / aes.BlockSize * aes.BlockSize
	// The length needs its four bytes; a text that ends with a block gets another block as well.
	if rest := n % aes.BlockSize; rest == 0 || rest > aes.BlockSize-lengthSize {
		size += aes.BlockSize
	}
	b := make([]byte, size)
	copy(b, text)
	binary.BigEndian.PutUint32(b[size-lengthSize:], uint32(n))
	for i := 0; i < size; i += aes.BlockSize {
		block.Encrypt(b[i:], b[i:])
	}
	return base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(size)), b)
}

// DecryptText reads the text out of a msg_data. White space and padding of the base64 are ignored wherever they are, as
// by the original. The text is not checked to be UTF-8. The error wraps ErrNotText.
func DecryptText(data []byte) (string, error) {
	compact := bytes.Map(func(r rune) rune {
		if r == '=' || unicode.IsSpace(r) {
			return -1
		}
		return r
	}, data)
	b, err := base64.RawStdEncoding.AppendDecode(nil, compact)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotText, err)
	}
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return "", fmt.Errorf("%w: %d bytes are no whole blocks", ErrNotText, len(b))
	}
	for i := 0; i < len(b); i += aes.BlockSize {
		block.Decrypt(b[i:], b[i:])
	}
	room := len(b) - lengthSize
	n := binary.BigEndian.Uint32(b[room:])
	if int64(n) > int64(room) {
		return "", fmt.Errorf("%w: length %d in %d bytes", ErrNotText, n, len(b))
	}
	return string(b[:n]), nil
}

// Picture is the text that shows the picture at address.
func Picture(address string) string { return PictureOpen + address + PictureClose }

// Part is a piece of a text: words, or the address of a picture.
type Part struct {
	Text    string
	Picture bool
}

// Parts cuts a text into words and pictures, in order. Marks without their other half are words.
func Parts(text string) iter.Seq[Part] {
	return func(yield func(Part) bool) {
		for text != "" {
			words, rest, found := strings.Cut(text, PictureOpen)
			address, rest, closed := strings.Cut(rest, PictureClose)
			if !found || !closed {
				yield(Part{Text: text})
				return
			}
			if words != "" && !yield(Part{Text: words}) {
				return
			}
			if !yield(Part{Text: address, Picture: true}) {
				return
			}
			text = rest
		}
	}
}

// AppendVoice appends the msg_data of a voice message that lasts the given number of seconds.
func AppendVoice(dst []byte, seconds uint32, audio []byte) []byte {
	return append(binary.BigEndian.AppendUint32(dst, seconds), audio...)
}

// ParseVoice reads a voice message; audio is part of data. Without any audio it is ErrNotVoice: original servers do not
// store such a message.
func ParseVoice(data []byte) (seconds uint32, audio []byte, err error) {
	if len(data) <= 4 {
		return 0, nil, ErrNotVoice
	}
	return binary.BigEndian.Uint32(data), data[4:], nil
}
