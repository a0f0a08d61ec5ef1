// replay CASES ANSWERS: what tests/integration/doors.py asks every binding, from Go.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"

	tinydancer "github.com/tiny-dancer/tiny-dancer/crates/tiny-dancer-ffi/go"
)

type testCase struct {
	Explain string
	Encoder *string
	Steps   [][3]json.RawMessage
}

func must[T any](found T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return found
}

// argument is a text, the bytes of a file, or the answer before.
func argument(given json.RawMessage, before string) []byte {
	var text *string
	if json.Unmarshal(given, &text) == nil {
		if text == nil {
			return []byte(before)
		}
		return []byte(*text)
	}
	var file struct{ File string }
	if err := json.Unmarshal(given, &file); err != nil {
		log.Fatal(err)
	}
	return must(os.ReadFile(file.File))
}

// instance is one encoder, and what was made last with it.
type instance struct {
	encoder *tinydancer.Encoder
	object  any
}

func (instance *instance) put(object any, err error) (string, error) {
	instance.object = object
	return "", err
}

func (instance *instance) perform(operation string, first, second []byte) (string, error) {
	one, two := string(first), string(second)
	switch operation {
	case "router":
		options := tinydancer.RouterOptions{Encoder: instance.encoder, Changes: two}
		object, err := tinydancer.LoadRouter(first, options)
		return instance.put(object, err)
	case "decide":
		return instance.object.(*tinydancer.Router).Decide(one, two)
	case "routes":
		object, err := tinydancer.LoadRoutes(first, instance.encoder)
		return instance.put(object, err)
	case "route":
		return instance.object.(*tinydancer.Routes).Decide(one, two)
	case "tools":
		object, err := tinydancer.NewTools(first, instance.encoder)
		return instance.put(object, err)
	case "addTools":
		return instance.object.(*tinydancer.Tools).Add(one)
	case "select":
		return instance.object.(*tinydancer.Tools).Select(one)
	case "agents":
		halfLife := tinydancer.Ageless()
		if one != "" {
			halfLife = must(strconv.ParseFloat(one, 64))
		}
		object, err := tinydancer.NewAgents(halfLife)
		return instance.put(object, err)
	case "putAgents":
		return "", instance.object.(*tinydancer.Agents).Put(one)
	case "choose":
		return instance.object.(*tinydancer.Agents).Choose(one)
	case "observe":
		return instance.object.(*tinydancer.Agents).Observe(one, two)
	case "candidates":
		object, err := tinydancer.NewCandidates(first, instance.encoder, "")
		return instance.put(object, err)
	case "addCandidates":
		return "", instance.object.(*tinydancer.Candidates).Add(one, nil)
	case "rank":
		return instance.object.(*tinydancer.Candidates).Rank(one, nil)
	case "tasks":
		object, err := tinydancer.LoadTasks(first, instance.encoder)
		return instance.put(object, err)
	case "classify":
		return instance.object.(*tinydancer.Tasks).Classify(one)
	}
	return "", fmt.Errorf("an unknown operation: %s", operation)
}

func main() {
	var cases []testCase
	if err := json.Unmarshal(must(os.ReadFile(os.Args[1])), &cases); err != nil {
		log.Fatal(err)
	}
	instances := map[string]*instance{}
	answers := make([][]string, 0, len(cases))
	for _, each := range cases {
		path := ""
		if each.Encoder != nil {
			path = *each.Encoder
		}
		with := instances[path]
		if with == nil {
			with = &instance{}
			if path != "" {
				with.encoder = must(tinydancer.LoadEncoder(must(os.ReadFile(path))))
			}
			instances[path] = with
		}
		answered, before := []string{}, ""
		for _, step := range each.Steps {
			var operation string
			if err := json.Unmarshal(step[0], &operation); err != nil {
				log.Fatal(err)
			}
			answer, err := with.perform(operation, argument(step[1], before), argument(step[2], ""))
			var refused *tinydancer.Error
			if errors.As(err, &refused) {
				answered = append(answered, string(must(json.Marshal(refused))))
				break
			}
			before = must(answer, err)
			answered = append(answered, before)
		}
		answers = append(answers, answered)
	}
	if err := os.WriteFile(os.Args[2], must(json.Marshal(answers)), 0o600); err != nil {
		log.Fatal(err)
	}
}
