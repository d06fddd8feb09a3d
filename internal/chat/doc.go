// Package chat is a terminal client over the real protocol: what godwit chat runs.
//
// On a terminal it edits lines, keeps one open conversation and marks what arrives in
// it as read. From a script it takes one command per line, finishes it before it
// reads the next, and prints one plain line per fact, whose first word says what it
// is; [Commands] and [Lines] describe both, for the help text. It connects again by
// itself after a lost connection and shows what came in between; a message whose ack
// was lost is sent again in a form that the server knows as a repeat.
package chat

// Commands describes what a script may write.
const Commands = `to NAME TEXT...            send, and wait for the ack
contacts                   everybody, with status and unread messages
unread                     conversations with unread messages, as the server counts
history NAME [N]           the newest N messages (default 20), oldest first
read NAME                  everything of NAME up to now is read
groups                     your groups; #NUMBER stands for one wherever NAME does
group NAME PERSON...       make a group
members #NUMBER            who is in it
add #NUMBER PERSON...      and remove #NUMBER PERSON...
leave #NUMBER
rename #NUMBER NAME        for its administrator
recall NAME ID             take an own message back
edit NAME ID TEXT...       change it
receipts NAME ID           who has read and received it
friends                    friends, open requests, and whom you block
friend NAME [TEXT]         ask somebody; accept, refuse, withdraw, unfriend, block, unblock NAME
remark NAME [TEXT]         a name for a friend that only you see
kick-desktop               send the own desktop away (from a phone)
wait SECONDS               do nothing for a while
wait message [SECONDS]     until a message that no wait has waited for yet (default 30)
wait status NAME online|offline [SECONDS]
quit                       log out; so does the end of the input`

// Lines describes what a script may read.
const Lines = `ready NAME NUMBER                    logged in
sent PEER ID                         a message is stored under its id
message PEER ID FROM TEXT            a message came in the conversation with PEER
contact NAME online|offline UNREAD   one of contacts; end contacts COUNT follows
unread PEER COUNT                    one of unread; end unread TOTAL follows
history PEER ID FROM TEXT            one of history; end history PEER COUNT follows
read PEER ID                         read up to ID, here or on another device
status NAME online|offline           somebody's desktop came or went
group #NUMBER MEMBERS NAME           one of groups, or made or renamed; end groups COUNT follows groups
member #NUMBER NAME                  one of members; end members #NUMBER COUNT follows
joined|left #NUMBER BY NAME,NAME     who came to a group or went from it
edited PEER ID FROM TEXT             a message was changed; recalled PEER ID, it was taken back
delivered|seen PEER ID BY            somebody has received, read up to ID
receipts PEER ID read NAMES delivered NAMES
friends WHAT NAME [TEXT]             one of friends, or told: friend, request, asked, refused, withdrawn,
                                     unfriended, blocked, unblocked, remark; end friends COUNT follows friends
done WHAT NAME                       a command of friends, or rename, was carried out
desktop online|offline               the own desktop came or went (told to phones)
lost REASON                          the connection is lost; back follows when it is there again
kicked REASON                        sent away: the program ends with exit code 3
error TEXT                           a command failed; the program ends with exit code 1 at the end
In TEXT a line feed is written \n and a backslash \\.`
