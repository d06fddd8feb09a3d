package connector

import "sync"

// pool runs jobs on at most limit goroutines, which live only while there is work.
// What can't run yet waits in order; callers bound how much they put in.
type pool[T any] struct {
	limit int
	run   func(T)
	wg    sync.WaitGroup

	mu      sync.Mutex
	queue   []T
	head    int
	running int
	closed  bool
}

// put never blocks. It tells false when the pool is closed.
func (p *pool[T]) put(job T) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.running < p.limit {
		p.running++
		p.wg.Go(func() { p.work(job) })
		return true
	}
	p.queue = append(p.queue, job)
	return true
}

func (p *pool[T]) work(job T) {
	for {
		p.run(job)
		p.mu.Lock()
		if p.head == len(p.queue) {
			p.queue, p.head = nil, 0
			p.running--
			p.mu.Unlock()
			return
		}
		var none T
		job, p.queue[p.head] = p.queue[p.head], none
		if p.head++; p.head > 1024 && p.head > len(p.queue)/2 {
			p.queue = append([]T(nil), p.queue[p.head:]...)
			p.head = 0
		}
		p.mu.Unlock()
	}
}

// close takes nothing new and waits for what was put in.
func (p *pool[T]) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wg.Wait()
}
