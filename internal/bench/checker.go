package bench

import "slices"

// checker follows the numbers 1, 2, 3, … of one sender as one receiver gets them.
// Memory grows only with what is missing.
type checker struct {
	next     uint64              // highest number seen, plus one; 0 stands for 1
	missing  map[uint64]struct{} // below next, not seen yet
	received uint64              // different numbers seen
	repeated uint64              // numbers seen again
	late     uint64              // numbers that came after a higher one
	lastID   uint32              // id of the newest message
	badIDs   uint64              // ids that did not grow
}

// see takes the next message in the order of arrival.
func (c *checker) see(number uint64, id uint32) {
	next := max(c.next, 1)
	switch _, wasMissing := c.missing[number]; {
	case number >= next:
		for n := next; n < number; n++ {
			if c.missing == nil {
				c.missing = map[uint64]struct{}{}
			}
			c.missing[n] = struct{}{}
		}
		c.next = number + 1
	case wasMissing:
		delete(c.missing, number)
		c.late++
	default:
		c.repeated++
		return
	}
	c.received++
	if id <= c.lastID {
		c.badIDs++
	}
	c.lastID = max(c.lastID, id)
}

// lost are the numbers up to sent that have not come, in order.
func (c *checker) lost(sent uint64) []uint64 {
	lost := make([]uint64, 0, len(c.missing))
	for n := range c.missing {
		lost = append(lost, n)
	}
	slices.Sort(lost)
	for n := max(c.next, 1); n <= sent; n++ {
		lost = append(lost, n)
	}
	return lost
}
