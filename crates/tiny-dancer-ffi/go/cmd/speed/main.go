// Command speed measures what examples/engine_speed.rs measures, from Go:
//
//	speed ARTIFACT ENCODER REQUESTS VECTORS ROUNDS
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"time"

	tinydancer "github.com/tiny-dancer/tiny-dancer/crates/tiny-dancer-ffi/go"
)

const rankings, k = 100, 10

func read(path string) []byte {
	data, err := os.ReadFile(path)
	must(err)
	return data
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// best gives the microseconds a call takes in the best round.
func best(rounds, calls int, work func(call int)) float64 {
	least := math.Inf(1)
	for range rounds {
		begun := time.Now()
		for call := range calls {
			work(call)
		}
		least = min(least, float64(time.Since(begun).Nanoseconds())/1000/float64(calls))
	}
	return least
}

func main() {
	if len(os.Args) != 6 {
		log.Fatal("usage: speed ARTIFACT ENCODER REQUESTS VECTORS ROUNDS")
	}
	rounds, err := strconv.Atoi(os.Args[5])
	must(err)
	encoder, err := tinydancer.LoadEncoder(read(os.Args[2]))
	must(err)
	defer encoder.Close()
	router, err := tinydancer.LoadRouter(read(os.Args[1]), tinydancer.RouterOptions{Encoder: encoder})
	must(err)
	defer router.Close()
	var texts []json.RawMessage
	must(json.Unmarshal(read(os.Args[3]), &texts))
	requests := make([]string, len(texts))
	for place, text := range texts {
		requests[place] = string(text)
	}
	decide := best(rounds, len(requests), func(call int) {
		_, err := router.Decide(requests[call], "")
		must(err)
	})

	data := read(os.Args[4])
	numbers := make([]float32, len(data)/4)
	for place := range numbers {
		numbers[place] = math.Float32frombits(binary.LittleEndian.Uint32(data[place*4:]))
	}
	dimensions := int(numbers[0])
	query, rows := numbers[1:1+dimensions], numbers[1+dimensions:]
	candidates, err := tinydancer.NewCandidates(nil, nil, "")
	must(err)
	defer candidates.Close()
	must(candidates.AddVectors(rows, dimensions))
	rank := best(rounds, rankings, func(int) {
		_, _, err := candidates.RankVector(query, k)
		must(err)
	})
	fmt.Printf("{\"decide_us\": %.4f, \"rank_us\": %.4f}\n", decide, rank)
}
