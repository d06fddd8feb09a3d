// Package pictures is the picture and voice store of TeamTalk's clients (msfs), over HTTP:
// they upload a file with a POST, get a path and a URL, put the URL into a message, and
// whoever reads the message fetches it with a GET.
//
// Files lie in the object store of the log's servers, under names that are made here and
// that nobody guesses; of what a client calls its file only the extension and the size of
// the picture in pixels are kept. Uploads need a permission, fetching needs the URL.
package pictures

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"godwit/bus"
)

// partSize is how much of a file is stored, and held by a request that fetches it, at once.
const partSize = 128 << 10

// directories is how many directories there are on each of two levels.
const directories = 255

var errNotFound = errors.New("no such picture")

// stored is one file in the store.
type stored struct {
	store *bus.Objects
	ctx   context.Context
	path  string
	size  int64

	at   int64  // of the next read
	part int64  // which one data is
	data []byte // of it
}

// StoreConfig is the store that a Handler with this room and time opens, for whoever makes
// it before. A room of 0 is DefaultRoom.
func StoreConfig(room int64, keep time.Duration) bus.StoreConfig {
	return bus.StoreConfig{Name: bus.PicturesStore, MaxBytes: cmp.Or(room, DefaultRoom), Keep: keep}
}

func partName(path string, n int64) string { return path + "." + strconv.FormatInt(n, 10) }

// put stores a file. Its first part comes last: what has one is whole.
func put(ctx context.Context, store *bus.Objects, path string, data []byte) error {
	for n := int64(len(data)-1) / partSize; n >= 0; n-- {
		part := data[n*partSize:]
		part = part[:min(len(part), partSize)]
		notes := map[string]string{"size": strconv.Itoa(len(data))}
		if err := store.Put(ctx, partName(path, n), part, notes); err != nil {
			return errors.Join(err, remove(ctx, store, path, n, int64(len(data)-1)/partSize))
		}
	}
	return nil
}

// remove takes the parts after first up to last away again.
func remove(ctx context.Context, store *bus.Objects, path string, first, last int64) error {
	for n := first + 1; n <= last; n++ {
		if err := store.Delete(ctx, partName(path, n)); err != nil {
			return fmt.Errorf("remove the parts of a picture: %w", err)
		}
	}
	return nil
}

// open reads the first part of a file. ctx is that of the request that reads on.
func open(ctx context.Context, store *bus.Objects, path string) (*stored, error) {
	data, notes, err := store.Get(ctx, partName(path, 0))
	if errors.Is(err, bus.ErrNoObject) {
		return nil, errNotFound
	}
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseInt(notes["size"], 10, 64)
	if err != nil || size < int64(len(data)) {
		return nil, fmt.Errorf("%w: its size", bus.ErrDamaged)
	}
	return &stored{store: store, ctx: ctx, path: path, size: size, data: data}, nil
}

// Seek moves the place of the next read.
func (f *stored) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	f.at = offset
	return offset, nil
}

// Read reads on, part by part.
func (f *stored) Read(p []byte) (int, error) {
	if f.at >= f.size {
		return 0, io.EOF
	}
	if n := f.at / partSize; n != f.part {
		data, _, err := f.store.Get(f.ctx, partName(f.path, n))
		if err != nil {
			return 0, fmt.Errorf("part %d: %w", n, err)
		}
		f.part, f.data = n, data
	}
	if want := min(partSize, f.size-f.part*partSize); int64(len(f.data)) != want {
		return 0, fmt.Errorf("%w: part %d", bus.ErrDamaged, f.part)
	}
	n := copy(p, f.data[f.at%partSize:])
	f.at += int64(n)
	return n, nil
}

// newPath is a path that nobody has and nobody guesses. pixels is empty or _WxH.
func newPath(now time.Time, pixels, ext string) string {
	var b [18]byte
	rand.Read(b[:])
	return fmt.Sprintf("g0/%03d/%03d/%d_%s%s.%s", binary.BigEndian.Uint64(b[:])%directories, uint(b[16])%directories,
		now.UnixMicro(), hex.EncodeToString(b[8:16]), pixels, ext)
}
