package bench

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"

	"github.com/gobwas/ws"

	"godwit/internal/wsclient"
	"godwit/schema/pdu"
	"godwit/schema/pdujson"
)

// Transport is how sessions of a load connect.
type Transport string

// The transports that there are.
const (
	TCP       Transport = "tcp"
	WebSocket Transport = "ws"   // a PDU in each binary frame
	JSON      Transport = "json" // a PDU in JSON in each text frame
)

// carrier stands between a session's PDUs and the socket of a WebSocket. It does no input or output.
type carrier struct {
	json    bool
	open    bool      // the server has agreed to speak WebSocket
	kind    ws.OpCode // of the message that message begins
	message []byte    // the payload of frames whose last is still missing, nil: none
	made    []byte    // the PDU made of a text; valid until the next one
}

// hello appends the request that opens a WebSocket.
func (*carrier) hello(dst []byte, host string) []byte {
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	return fmt.Appendf(dst, "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		host, base64.StdEncoding.EncodeToString(key[:]))
}

// agreed reads the server's answer, once it is whole.
func (w *carrier) agreed(data []byte) (int, error) {
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(data)), nil)
	if err != nil {
		return 0, fmt.Errorf("open a WebSocket: %w", err)
	}
	_ = res.Body.Close() // there is none
	if res.StatusCode != http.StatusSwitchingProtocols {
		return 0, fmt.Errorf("open a WebSocket: the server answered %s", res.Status)
	}
	w.open = true
	return end + 4, nil
}

// appendFrames appends a frame for each of the PDUs.
func (w *carrier) appendFrames(dst, pdus []byte) ([]byte, error) {
	for len(pdus) > 0 {
		f, n, err := pdu.Next(pdus, pdu.MaxAfterLogin)
		if err != nil {
			return dst, err
		}
		pdus = pdus[n:]
		if !w.json {
			dst = wsclient.AppendFrame(dst, ws.OpBinary, f.Raw)
			continue
		}
		if w.made, err = pdujson.AppendText(w.made[:0], &f); err != nil {
			return dst, err
		}
		dst = wsclient.AppendFrame(dst, ws.OpText, w.made)
	}
	return dst, nil
}

// next takes the first frame off what came. f is the PDU that it ends, if it does; answer is what has to
// be sent for it.
func (w *carrier) next(data []byte) (f pdu.Frame, answer []byte, n int, err error) {
	h, payload, n, err := wsclient.Next(data)
	if err != nil || n == 0 {
		return pdu.Frame{}, nil, 0, err
	}
	switch {
	case h.OpCode == ws.OpPing:
		return pdu.Frame{}, wsclient.AppendFrame(nil, ws.OpPong, payload), n, nil
	case h.OpCode == ws.OpPong:
		return pdu.Frame{}, nil, n, nil
	case h.OpCode == ws.OpClose:
		code, reason := ws.ParseCloseFrameData(payload)
		return pdu.Frame{}, nil, 0, &wsclient.CloseError{Code: uint16(code), Reason: reason}
	case h.OpCode != ws.OpContinuation:
		w.kind = h.OpCode
	}
	if !h.Fin || w.message != nil {
		w.message = append(w.message, payload...)
		if payload = w.message; !h.Fin {
			return pdu.Frame{}, nil, n, nil
		}
		w.message = nil
	}
	if w.kind == ws.OpText {
		if w.made, err = pdujson.Append(w.made[:0], payload); err != nil {
			return pdu.Frame{}, nil, 0, fmt.Errorf("%w: %.200s", err, payload)
		}
		payload = w.made
	}
	f, size, err := pdu.Next(payload, pdu.MaxAfterLogin)
	if err == nil && (size == 0 || size != len(payload)) {
		err = fmt.Errorf("a frame of %d bytes is not one PDU", len(payload))
	}
	return f, nil, n, err
}
