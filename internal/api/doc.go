// Package api is the server API: what a back-end engineer drives a godwit with from outside, over HTTP and JSON.
//
// Every operation is registered once, by its types, which give the OpenAPI document at /api/v1/openapi.json, the check of
// what comes in and the form of what goes out. Around an operation stand, in this order:
//
//   - who calls: the operator, with the token of the data directory, who may do all; or an API key, gw_<id>_<secret>,
//     whose scopes say what it may do. Keys are rows of the people view; a node remembers them for some seconds.
//   - whether it was asked before: a write with an Idempotency-Key is done once, and every repeat of it within a day gets
//     the first answer, also after a crash in between (see idempotency.go).
//   - the operation itself: it asks views, decides with package commands, appends, and answers once the view has said what
//     the event came to. Every event says by whom it is: "operator", or "key:<id>".
//
// Errors are problem documents (RFC 9457) whose name never changes. Lists are given in pages; a page that is not the last
// brings the cursor of the next. Nothing is streamed but an export of a person's data, which is read page by page.
//
// Two paths of TeamTalk's http_msg_server stand beside it: /query/CreateGroup and /query/ChangeMembers.
package api
