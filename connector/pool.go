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
	waiting int // in idle
	closed  bool
}

// maxIdle bounds the jobs of a pool that wait without counting as running.
const maxIdle = 4096

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
	for more := true; more; {
		p.run(job)
		p.mu.Lock()
		job, more = p.next()
		p.mu.Unlock()
	}
}

// next takes the first job that waits, or lets the worker go. mu is held.
func (p *pool[T]) next() (job T, more bool) {
	if p.head == len(p.queue) {
		p.queue, p.head = nil, 0
		p.running--
		return job, false
	}
	var none T
	job, p.queue[p.head] = p.queue[p.head], none
	if p.head++; p.head > 1024 && p.head > len(p.queue)/2 {
		p.queue = append([]T(nil), p.queue[p.head:]...)
		p.head = 0
	}
	return job, true
}

// waits is how many jobs wait for a worker.
func (p *pool[T]) waits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.queue) - p.head
}

// idle is for a job that has to wait for its client: meanwhile another one runs in its
// place.
func (p *pool[T]) idle(wait func()) {
	p.mu.Lock()
	lent := p.waiting < maxIdle
	if lent {
		p.waiting++
		if job, more := p.next(); more {
			p.wg.Go(func() { p.work(job) })
		}
	}
	p.mu.Unlock()
	wait()
	if lent {
		p.mu.Lock()
		p.waiting--
		p.running++
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

// fair is a pool whose waiting jobs take turns by who they are for: whoever puts in many
// waits for them himself.
type fair[K comparable, T any] struct {
	limit int
	run   func(T)
	wg    sync.WaitGroup

	mu      sync.Mutex
	lines   map[K][]T // none is empty
	turns   []K       // of lines, the next first
	running int
	closed  bool
}

// put never blocks. It tells false when the pool is closed.
func (p *fair[K, T]) put(who K, job T) bool {
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
	line, waits := p.lines[who]
	if !waits {
		if p.lines == nil {
			p.lines = make(map[K][]T)
		}
		p.turns = append(p.turns, who)
	}
	p.lines[who] = append(line, job)
	return true
}

func (p *fair[K, T]) work(job T) {
	for more := true; more; {
		p.run(job)
		job, more = p.next()
	}
}

// next takes the first job of whose turn it is; false: the worker has nothing left to do.
func (p *fair[K, T]) next() (job T, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.turns) == 0 {
		p.lines, p.turns = nil, nil
		p.running--
		return job, false
	}
	who := p.turns[0]
	p.turns = p.turns[1:]
	line := p.lines[who]
	job = line[0]
	if len(line) == 1 {
		delete(p.lines, who)
		return job, true
	}
	var none T
	line[0] = none
	p.lines[who] = line[1:]
	p.turns = append(p.turns, who)
	return job, true
}

// close takes nothing new and waits for what was put in.
func (p *fair[K, T]) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wg.Wait()
}
