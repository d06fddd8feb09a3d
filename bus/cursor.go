package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// cursorBucket holds cursors: one message a name, kept for ever.
const cursorBucket = "cursors"

// maxCursorName bounds a cursor's name, in bytes.
const maxCursorName = 200

// Cursor is the value of a cursor as it was read or set: a number under a name, kept as
// durably as the log. It says how far somebody outside the views has come.
type Cursor struct {
	Value    uint64
	Set      bool   // false: there is none of that name
	revision uint64 // of the newest change, its removal too
}

// Cursor reads a cursor from the bucket's leader. A name is one or more subject tokens,
// joined by dots. It asks until there is an answer or ctx ends.
func (b *Bus) Cursor(ctx context.Context, name string) (Cursor, error) {
	if err := b.checkCursor(name); err != nil {
		return Cursor{}, err
	}
	e, err := b.entry(ctx, cursorBucket, name)
	if err != nil {
		return Cursor{}, fmt.Errorf("bus: cursor %s: %w", name, err)
	}
	c := Cursor{revision: e.revision}
	if e.gone {
		return c, nil
	}
	if c.Value, err = strconv.ParseUint(e.value, 10, 64); err != nil {
		return Cursor{}, fmt.Errorf("bus: cursor %s: %w", name, err)
	}
	c.Set = true
	return c, nil
}

// SetCursor gives a cursor another value if nobody has changed it since was was read or
// set, and ErrConflict if somebody has; the zero Cursor stands for one that never was.
// After any other error it may have been set or not: read it again.
func (b *Bus) SetCursor(ctx context.Context, name string, was Cursor, value uint64) (Cursor, error) {
	if err := b.checkCursor(name); err != nil {
		return Cursor{}, err
	}
	rev, err := b.set(ctx, cursorBucket, name, strconv.FormatUint(value, 10), was.revision, false)
	if err != nil {
		return Cursor{}, b.cursorError(name, err)
	}
	return Cursor{Value: value, Set: true, revision: rev}, nil
}

// RemoveCursor takes a cursor away, under the conditions of SetCursor.
func (b *Bus) RemoveCursor(ctx context.Context, name string, was Cursor) error {
	if err := b.checkCursor(name); err != nil {
		return err
	}
	if !was.Set {
		return nil
	}
	if _, err := b.set(ctx, cursorBucket, name, "", was.revision, true); err != nil {
		return b.cursorError(name, err)
	}
	return nil
}

func (b *Bus) cursorError(name string, err error) error {
	if b.closed.Load() && !errors.Is(err, ErrConflict) {
		err = errors.Join(ErrClosed, err)
	}
	return fmt.Errorf("bus: cursor %s: %w", name, err)
}

func (b *Bus) checkCursor(name string) error {
	if b.closed.Load() {
		return ErrClosed
	}
	for token := range strings.SplitSeq(name, ".") {
		if !validToken(token) || len(name) > maxCursorName {
			return fmt.Errorf("bus: cursor name %q must be tokens without spaces and wildcards, joined by dots", name)
		}
	}
	return nil
}
