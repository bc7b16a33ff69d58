// Goroutines that yield, and two that hand over to each other through channels.
//
// Arguments: `yield TASKS ROUNDS` or `hand-over 2 ROUNDS`. Prints the number of switches, and the
// nanoseconds that they took.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Each goroutine yields `rounds` times. The clock starts when all goroutines have started, and
// stops when the last has returned from its last counted yield.
func yield(tasks, rounds int) (int, time.Duration) {
	var begun time.Time
	var took time.Duration
	var arrived, left, switches atomic.Int64
	var ended sync.WaitGroup
	ended.Add(tasks)
	for range make([]struct{}, tasks) {
		go func() {
			defer ended.Done()
			if arrived.Add(1) == int64(tasks) {
				begun = time.Now()
			}
			// The scheduler does not guarantee that all have started before one runs again.
			runtime.Gosched()
			for arrived.Load() < int64(tasks) {
				runtime.Gosched()
			}
			done := 1
			for done < rounds {
				runtime.Gosched()
				done++
			}
			switches.Add(int64(done))
			if left.Add(1) == int64(tasks) {
				took = time.Since(begun)
			}
			// So no goroutine ends while the clock runs.
			runtime.Gosched()
		}()
	}
	ended.Wait()
	return int(switches.Load()), took
}

// The main goroutine and another one. Each sends to the other, and then waits for it. There are two
// hand-overs per round.
func handOver(rounds int) (int, time.Duration) {
	there, back := make(chan struct{}), make(chan struct{})
	received := make(chan int)
	go func() {
		count := 0
		for range there {
			count++
			back <- struct{}{}
		}
		received <- count
	}()
	count := 0
	begun := time.Now()
	for count < rounds {
		there <- struct{}{}
		<-back
		count++
	}
	took := time.Since(begun)
	close(there)
	return count + <-received, took
}

func run(shape string, tasks, rounds int) (int, time.Duration) {
	if shape == "yield" {
		return yield(tasks, rounds)
	}
	return handOver(rounds)
}

func main() {
	runtime.GOMAXPROCS(1)
	shape := os.Args[1]
	tasks, _ := strconv.Atoi(os.Args[2])
	rounds, _ := strconv.Atoi(os.Args[3])
	// A warm-up.
	run(shape, tasks, rounds/10+1)
	switches, took := run(shape, tasks, rounds)
	fmt.Println(switches, took.Nanoseconds())
}
