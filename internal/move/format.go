package move

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"godwit/bus"
)

// Format is the version of the form of backups that this program writes and reads.
const Format = 1

// A file of a backup is a line that says what it is, and then entries, each
//
//	uvarint sequence
//	uvarint time of storing, Unix nanoseconds
//	uvarint length, and the subject
//	uvarint length, and the data
//
// It is written once and never changed. Its length, SHA-256 and range are in the manifest.
const magic = "godwit backup 1\n"

// maxPart bounds a subject or the data of an entry, in bytes: what is longer is damage.
const maxPart = 8 << 20

// ErrDamaged is wrapped by what is said of a backup whose files are not what was written.
var ErrDamaged = errors.New("the backup is damaged")

// file is one file of a backup, by its path below the backup's directory.
type file struct {
	Path    string `json:"path"`
	First   uint64 `json:"first"` // sequences of its first and last entry
	Last    uint64 `json:"last"`
	Entries uint64 `json:"entries"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"`
	Print   string `json:"fingerprint"` // of its last entry
}

// writer writes one file under a temporary name.
type writer struct {
	dir string // of the backup
	f   *os.File
	buf *bufio.Writer
	sum hash.Hash
	is  file
}

func newWriter(dir, path string) (*writer, error) {
	at := filepath.Join(dir, path)
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(at+partial, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	w := &writer{dir: dir, f: f, sum: sha256.New(), is: file{Path: path}}
	w.buf = bufio.NewWriterSize(io.MultiWriter(f, w.sum), 1<<20)
	return w, w.write([]byte(magic))
}

// partial ends the names of files that are being written.
const partial = ".part"

func (w *writer) write(b []byte) error {
	n, err := w.buf.Write(b)
	w.is.Bytes += int64(n)
	return err
}

func (w *writer) entry(e bus.Entry) error {
	var head []byte
	head = binary.AppendUvarint(head, e.Sequence)
	head = binary.AppendUvarint(head, uint64(max(0, e.Time.UnixNano())))
	head = binary.AppendUvarint(head, uint64(len(e.Subject)))
	head = append(head, e.Subject...)
	head = binary.AppendUvarint(head, uint64(len(e.Data)))
	if w.is.Entries == 0 {
		w.is.First = e.Sequence
	}
	w.is.Last, w.is.Entries, w.is.Print = e.Sequence, w.is.Entries+1, fingerprint(e)
	return errors.Join(w.write(head), w.write(e.Data))
}

func fingerprint(e bus.Entry) string {
	p := bus.FingerprintOf(append([]byte(e.Subject+" "), e.Data...))
	return hex.EncodeToString(p[:])
}

// finish puts the file in its place, on the disk.
func (w *writer) finish() (file, error) {
	err := w.buf.Flush()
	if err == nil {
		err = w.f.Sync()
	}
	err = errors.Join(err, w.f.Close())
	at := filepath.Join(w.dir, w.is.Path)
	if err == nil {
		err = os.Rename(at+partial, at)
	}
	if err == nil {
		err = syncDir(filepath.Dir(at))
	}
	if err == nil {
		err = syncDir(w.dir)
	}
	w.is.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	return w.is, err
}

func (w *writer) drop() { _ = w.f.Close() } // what is partial is overwritten by the next run

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readFile hands over the entries of a file until more says no. With check the file must be, to
// its end, what the manifest says.
func readFile(dir string, is file, check bool, more func(bus.Entry) bool) (err error) {
	f, err := os.Open(filepath.Join(dir, is.Path))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer f.Close()
	var in io.Reader = f
	sum := sha256.New()
	if check {
		in = io.TeeReader(f, sum)
	}
	r := &reader{bufio.NewReaderSize(in, 1<<20)}
	damaged := func(what string) error { return fmt.Errorf("%w: %s %s", ErrDamaged, is.Path, what) }
	line := make([]byte, len(magic))
	if _, err := io.ReadFull(r, line); err != nil || string(line) != magic {
		return damaged("is no file of a backup of format 1")
	}
	last := uint64(0)
	for n := range is.Entries {
		e, err := r.entry()
		if err != nil {
			return damaged(fmt.Sprintf("ends in entry %d of %d: %v", n+1, is.Entries, err))
		}
		if e.Sequence <= last || e.Sequence < is.First || e.Sequence > is.Last {
			return damaged(fmt.Sprintf("has sequence %d out of place", e.Sequence))
		}
		last = e.Sequence
		if !more(e) {
			return nil
		}
	}
	if !check {
		return nil
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		return damaged("is longer than it was")
	}
	if hex.EncodeToString(sum.Sum(nil)) != is.SHA256 {
		return damaged("has another SHA-256 than it had")
	}
	return nil
}

type reader struct{ *bufio.Reader }

func (r *reader) entry() (e bus.Entry, err error) {
	if e.Sequence, err = binary.ReadUvarint(r); err != nil {
		return e, err
	}
	at, err := binary.ReadUvarint(r)
	if err != nil {
		return e, err
	}
	e.Time = time.Unix(0, int64(at))
	subject, err := r.part()
	if err != nil {
		return e, err
	}
	e.Subject = string(subject)
	e.Data, err = r.part()
	return e, err
}

func (r *reader) part() ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil || n == 0 {
		return nil, err
	}
	if n > maxPart {
		return nil, fmt.Errorf("a part of %d bytes", n)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}
