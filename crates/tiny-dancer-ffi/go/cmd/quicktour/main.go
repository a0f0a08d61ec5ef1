// quicktour FOLDER_OF_ARTIFACTS: loads the default artifact, decides a request, ranks candidates, chooses an agent.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"

	tinydancer "github.com/tiny-dancer/tiny-dancer/crates/tiny-dancer-ffi/go"
)

func must[T any](found T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return found
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: quicktour FOLDER_OF_ARTIFACTS")
	}
	read := func(name string) []byte { return must(os.ReadFile(filepath.Join(os.Args[1], name))) }

	// A router from the default artifact, and the encoder it was trained with.
	encoder := must(tinydancer.LoadEncoder(read("encoder.safetensors")))
	options := tinydancer.RouterOptions{Encoder: encoder, Breaker: "{}"}
	router := must(tinydancer.LoadRouter(read("default.safetensors"), options))
	defer router.Close()

	request := `"Prove that the square root of 2 is irrational."`
	var decision struct{ Model, Reason string }
	if err := json.Unmarshal([]byte(must(router.Decide(request, ""))), &decision); err != nil {
		log.Fatal(err)
	}
	fmt.Println("model:", decision.Model)
	fmt.Println("reason:", decision.Reason)

	// An error says what was wrong, and what to do about it.
	if _, err := router.Decide(request, `{"max_cost": -1}`); err != nil {
		fmt.Println("refused:", err)
	}

	// Candidates, by their embeddings alone.
	ids := []string{"tea", "train", "bus"}
	candidates := must(tinydancer.NewCandidates(nil, nil, ""))
	defer candidates.Close()
	if err := candidates.AddVectors([]float32{1, 0, 0, 0, 1, 0, 0, 0.8, 0.6}, 3); err != nil {
		log.Fatal(err)
	}
	ranked, _, err := candidates.RankVector([]float32{0, 0.9, 0.1}, 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, one := range ranked {
		fmt.Printf("candidate: %s %.2f\n", ids[one.Row], one.Score)
	}

	// Agents.
	agents := must(tinydancer.NewAgents(tinydancer.Ageless()))
	defer agents.Close()
	known := `[{"name": "coder", "capabilities": ["code"], "quality": 0.9},
		{"name": "writer", "capabilities": ["prose"], "quality": 0.95}]`
	if err := agents.Put(known); err != nil {
		log.Fatal(err)
	}
	var choice struct{ Agent string }
	if err := json.Unmarshal([]byte(must(agents.Choose(`{"required_capabilities": ["code"]}`))), &choice); err != nil {
		log.Fatal(err)
	}
	fmt.Println("agent:", choice.Agent)
}
