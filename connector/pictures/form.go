package pictures

import (
	"bytes"
	"mime"
	"net/http"
	"regexp"
	"strings"
)

// Codes of an upload's answer. 1 to 11 are the original's.
const (
	codeOK            = 0
	codeTooLarge      = 1
	codeDisposition   = 2  // the part has no Content-Disposition
	codeFileName      = 3  // it has no file name
	codeNoBoundary    = 4  // the request's Content-Type has no boundary
	codeBoundary      = 5  // the boundary is not in the body
	codePartType      = 6  // the part has no Content-Type
	codeHeaderEnd     = 7  // the part's header does not end
	codeClosing       = 8  // there is no boundary behind the part
	codeExtension     = 9  // it is too long, or not letters and digits
	codeNoDot         = 10 // the name has no extension
	codeNameTooLong   = 11
	codeWrongContent  = 12 // a picture that is not what its extension says
	codeNotAllowed    = 13
	codeNoRoom        = 14
	codeTryLater      = 15
	maxFileName       = 255
	maxExtension      = 15
	maxPartHeader     = 8 << 10
	maxMultipartExtra = 64 << 10 // what is around the file
)

// messages are what goes with a code.
func message(code int) string {
	switch code {
	case codeOK:
		return "成功"
	case codeTooLarge:
		return "上传文件过大"
	case codeWrongContent:
		return "文件类型不符"
	case codeNotAllowed:
		return "未授权"
	case codeNoRoom:
		return "存储空间已满"
	case codeTryLater:
		return "服务器繁忙"
	}
	return "格式错误"
}

// form is the first part of a multipart body.
type form struct {
	pixels string // _WxH of the picture, if its name says so
	ext    string // lower case
	data   []byte // part of the body
}

var (
	pixels    = regexp.MustCompile(`_[0-9]{1,4}x[0-9]{1,4}$`)
	extension = regexp.MustCompile(`^[0-9A-Za-z]{1,15}$`)
)

// parse reads the first part. It is written out because old clients are told by a code of
// their own what is wrong with a body.
func parse(contentType string, body []byte) (f form, code int) {
	boundary, ok := boundaryOf(contentType)
	if !ok {
		return f, codeNoBoundary
	}
	mark := []byte("--" + boundary)
	_, rest, ok := bytes.Cut(body, mark)
	if !ok {
		return f, codeBoundary
	}
	head, data, ok := bytes.Cut(rest, []byte("\r\n\r\n"))
	if !ok || len(head) > maxPartHeader {
		return f, codeHeaderEnd
	}
	var disposition string
	var hasDisposition, hasType bool
	for line := range strings.SplitSeq(string(head), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		switch http.CanonicalHeaderKey(strings.TrimSpace(name)) {
		case "Content-Disposition":
			hasDisposition, disposition = true, value
		case "Content-Type":
			hasType = true
		}
	}
	if !hasDisposition {
		return f, codeDisposition
	}
	name, ok := nameOf(disposition)
	switch {
	case !ok:
		return f, codeFileName
	case !hasType:
		return f, codePartType
	}
	f.data, _, ok = bytes.Cut(data, append([]byte("\r\n"), mark...))
	if !ok {
		return f, codeClosing
	}
	if len(name) > maxFileName {
		return f, codeNameTooLong
	}
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return f, codeNoDot
	}
	if !extension.MatchString(name[dot+1:]) {
		return f, codeExtension
	}
	f.pixels, f.ext = pixels.FindString(name[:dot]), strings.ToLower(name[dot+1:])
	return f, codeOK
}

// boundaryOf finds the boundary in a Content-Type, also in one that is not quite right.
func boundaryOf(contentType string) (string, bool) {
	if _, params, err := mime.ParseMediaType(contentType); err == nil {
		b := params["boundary"]
		return b, b != ""
	}
	_, b, ok := strings.Cut(contentType, "boundary=")
	b, _, _ = strings.Cut(b, ";")
	b = strings.Trim(strings.TrimSpace(b), `"`)
	return b, ok && b != ""
}

// nameOf finds the file name in a Content-Disposition. A Windows client may give a path,
// with backslashes that escape nothing, so this is not done by the book.
func nameOf(disposition string) (string, bool) {
	_, name, ok := strings.Cut(disposition, "filename=")
	if !ok {
		return "", false
	}
	if quoted, isQuoted := strings.CutPrefix(name, `"`); isQuoted {
		name, _, ok = strings.Cut(quoted, `"`)
	} else {
		name, _, _ = strings.Cut(name, ";")
		name = strings.TrimSpace(name)
	}
	return name, ok && name != ""
}

// pictureTypes are the contents of extensions that browsers show.
var pictureTypes = map[string]string{"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif"}

// fits tells whether the content is what its extension says. Of what is no picture nothing
// is known, and nothing is shown by a browser.
func fits(ext string, data []byte) bool {
	want, picture := pictureTypes[ext]
	return !picture || http.DetectContentType(data) == want
}
