package files

import (
	"context"
	"errors"
	"fmt"

	"godwit/bus"
	"godwit/schema/client"
	imfile "godwit/schema/client/file"
	"godwit/schema/pdu"
)

// upload pulls the file from its sender, from behind what is stored.
func (c *conn) upload() error {
	t := &c.task
	if !t.Complete.IsZero() {
		return c.uploaded() // he did not hear it the first time
	}
	part := make([]byte, 0, min(PartSize, int(t.Size-t.Stored)))
	for {
		offset := t.Stored + uint32(len(part))
		size := min(Piece, t.Size-offset)
		mode := offline
		err := c.send(client.CmdFilePullDataReq, 0, &imfile.IMFilePullDataReq{TaskId: &t.ID, UserId: &t.From,
			TransMode: &mode, Offset: &offset, DataSize: &size})
		if err != nil {
			return err
		}
		data, err := c.piece(offset, size)
		if err != nil {
			return err
		}
		c.srv.count.bytes.WithLabelValues("stored").Add(float64(len(data)))
		part = append(part, data...)
		if len(part) < PartSize && offset+size < t.Size {
			continue
		}
		if err := c.keep(part); err != nil {
			return err
		}
		part = part[:0]
		if !t.Complete.IsZero() {
			c.srv.count.ended.WithLabelValues("uploaded").Inc()
			return c.uploaded()
		}
	}
}

// uploaded tells the sender that all of it is stored.
func (c *conn) uploaded() error {
	if err := c.state(done, c.task.From); err != nil {
		return err
	}
	return errOver
}

// keep stores a part. Where there is no room, the transfer is over and its sender is told.
func (c *conn) keep(part []byte) error {
	ctx, cancel := c.ask()
	defer cancel()
	err := c.srv.store.putPart(ctx, &c.task, part)
	if !errors.Is(err, ErrNoRoom) {
		return err
	}
	c.srv.count.ended.WithLabelValues("no_room").Inc()
	c.srv.log.Warn("no room for a file", "task", short(c.task.ID), "user", c.user, "size", c.task.Size)
	return c.cancel(err)
}

// cancel ends the task and tells this client.
func (c *conn) cancel(why error) error {
	err := c.remove()
	return errors.Join(errOver, why, err, c.state(cancelled, c.task.From))
}

func (c *conn) remove() error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), removeTime)
	defer cancel()
	return c.srv.store.Remove(ctx, c.task)
}

// piece waits for the data that was asked for, exactly.
func (c *conn) piece(offset, size uint32) ([]byte, error) {
	for {
		f, err := c.next()
		if err != nil {
			return nil, err
		}
		served, err := c.common(&f)
		if err != nil {
			return nil, err
		}
		if served {
			continue
		}
		switch f.Command {
		case client.CmdFilePullDataRsp:
		case client.CmdFileState:
			return nil, c.uploaderState(f.Body)
		default:
			return nil, fmt.Errorf("%w: %s in an upload", errProtocol, client.Name(f.Command))
		}
		m := new(imfile.IMFilePullDataRsp)
		if err := client.Unmarshal(f.Body, m); err != nil {
			return nil, fmt.Errorf("%w: %w", errProtocol, err)
		}
		if m.GetResultCode() != 0 || m.GetTaskId() != c.task.ID || m.GetUserId() != c.user || m.GetOffset() != offset || len(m.GetFileData()) != int(size) {
			return nil, fmt.Errorf("%w: result %d, %d bytes at %d, asked for %d at %d", errProtocol, m.GetResultCode(), len(m.GetFileData()), m.GetOffset(), size, offset)
		}
		return m.GetFileData(), nil
	}
}

// uploaderState ends an upload by its sender's word.
func (c *conn) uploaderState(body []byte) error {
	m, err := c.readState(body)
	if err != nil {
		return err
	}
	if m.GetState() != cancelled {
		return fmt.Errorf("%w: state %s in an upload", errProtocol, m.GetState())
	}
	c.srv.count.ended.WithLabelValues("cancelled").Inc()
	return errors.Join(errOver, c.remove())
}

// download gives the file in the order of its bytes, from wherever the client begins.
func (c *conn) download() error {
	t := &c.task
	var part []byte
	held := -1 // which part that is
	next := int64(-1)
	for {
		f, err := c.next()
		if err != nil {
			return err
		}
		if served, err := c.common(&f); err != nil {
			return err
		} else if served {
			continue
		}
		switch f.Command {
		case client.CmdFilePullDataReq:
		case client.CmdFileState:
			if _, err := c.readState(f.Body); err != nil {
				return err
			}
			return errOver // he has it, or wants it no more, or comes back later
		default:
			return fmt.Errorf("%w: %s in a download", errProtocol, client.Name(f.Command))
		}
		m := new(imfile.IMFilePullDataReq)
		if err := client.Unmarshal(f.Body, m); err != nil {
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		offset := m.GetOffset()
		if m.GetTaskId() != t.ID || m.GetUserId() != c.user || m.GetTransMode() != offline || offset >= t.Size || next >= 0 && int64(offset) != next {
			return fmt.Errorf("%w: pull at %d, expected at %d of %d", errProtocol, offset, next, t.Size)
		}
		size := min(Piece, t.Size-offset)
		if asked := m.GetDataSize(); asked > 0 {
			size = min(size, asked)
		}
		next = int64(offset) + int64(size)
		b := make([]byte, 0, size)
		for at := offset; at < offset+size; {
			if n := int(at / PartSize); n != held {
				if part, err = c.fetch(at); err != nil {
					return err
				}
				held = n
			}
			got := part[at%PartSize:]
			got = got[:min(len(got), int(offset+size-at))]
			b = append(b, got...)
			at += uint32(len(got))
		}
		if err := c.data(f.Seq, offset, b); err != nil {
			return err
		}
		c.srv.count.bytes.WithLabelValues("fetched").Add(float64(len(b)))
		if next == int64(t.Size) {
			c.srv.count.ended.WithLabelValues("downloaded").Inc()
			if err := c.state(done, t.From); err != nil {
				return err
			}
			return errOver
		}
	}
}

func (c *conn) fetch(offset uint32) ([]byte, error) {
	ctx, cancel := c.ask()
	defer cancel()
	part, err := c.srv.store.part(ctx, &c.task, offset)
	if errors.Is(err, bus.ErrNoObject) {
		return nil, fmt.Errorf("%w: %w", errOver, err) // removed meanwhile
	}
	return part, err
}

// data answers a pull of this client.
func (c *conn) data(seq uint16, offset uint32, b []byte) error {
	m := &imfile.IMFilePullDataRsp{ResultCode: new(uint32(0)), TaskId: &c.task.ID, UserId: &c.user, Offset: &offset, FileData: b}
	out, err := pdu.AppendMessage(make([]byte, 0, len(b)+128), client.CmdFilePullDataRsp, seq, m)
	if err != nil {
		return err
	}
	return c.write(out)
}
