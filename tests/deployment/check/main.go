// Checks the files of the deployment with the code that will read them: docker-compose.yml with Compose's own loader,
// the Dockerfile with BuildKit's own linter. Needs no Docker engine and no network.
//
//	go run . compose docker-compose.yml
//	go run . dockerfile Dockerfile
//
// Prints a line for each problem and ends with 1 if there is any; `compose` prints the resolved file when there is none.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/opencontainers/go-digest"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: check compose|dockerfile FILE")
		os.Exit(2)
	}
	var problems []string
	var err error
	switch os.Args[1] {
	case "compose":
		problems, err = compose(os.Args[2])
	case "dockerfile":
		problems, err = dockerfile(os.Args[2])
	default:
		err = fmt.Errorf("%s is neither compose nor dockerfile", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for _, problem := range problems {
		fmt.Println(problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// compose loads the file as `docker compose config` does: schema, interpolation, references between its parts.
func compose(path string) ([]string, error) {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithInterpolation(true), cli.WithConsistency(true))
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return []string{err.Error()}, nil
	}
	resolved, err := project.MarshalYAML()
	if err != nil {
		return nil, err
	}
	_, err = os.Stdout.Write(resolved)
	return nil, err
}

// noRegistry answers for every image that it exists, runs on linux and sets nothing: a linter does not ask a registry.
type noRegistry struct{}

func (noRegistry) ResolveImageConfig(
	_ context.Context, ref string, _ sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	config := []byte(`{"architecture":"amd64","os":"linux","config":{}}`)
	return ref, digest.FromBytes(config), config, nil
}

// dockerfile runs what `docker build --check` runs.
func dockerfile(path string) ([]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	source := llb.NewSourceMap(nil, path, "Dockerfile", content)
	source.Definition = &llb.Definition{}
	results, err := dockerfile2llb.DockerfileLint(context.Background(), content, dockerfile2llb.ConvertOpt{
		MetaResolver: noRegistry{},
		SourceMap:    source,
	})
	if err != nil {
		return nil, err
	}
	var problems []string
	if results.Error != nil {
		problems = append(problems, results.Error.Message)
	}
	for _, warning := range results.Warnings {
		line := int32(0)
		if warning.Location != nil && len(warning.Location.Ranges) > 0 {
			line = warning.Location.Ranges[0].Start.Line
		}
		problems = append(problems, fmt.Sprintf("%s:%d: %s: %s", path, line, warning.RuleName, warning.Detail))
	}
	return problems, nil
}
