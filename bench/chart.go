package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// A chart has lines over two logarithmic axes. It is drawn as SVG.
type chart struct {
	Title, Note string
	X, Y        axis
	Lines       []chartLine
}

type axis struct {
	Name      string
	Low, High float64
	Ticks     []tick
}

type tick struct {
	At   float64
	Name string
}

type point struct{ x, y float64 }

type chartLine struct {
	Name   string
	Dashed bool
	points []point
}

const (
	chartWidth, chartHeight             = 900, 520
	chartLeft, chartRight               = 70, 650 // the names of the lines are right of that
	chartTop, chartBottom               = 50, 460
	chartLineStep                       = 22
	chartColors, chartColorRest, grayed = "#1b6ca8 #d1495b #2e933c #8f5db7 #e28413 #00798c #6b4226 #c2185b #5a6b7b", "#000", "#ddd"
)

func (c *chart) line(name string, dashed bool, points []point) {
	c.Lines = append(c.Lines, chartLine{Name: name, Dashed: dashed, points: points})
}

// at is where a value is between from and to.
func (a axis) at(v, from, to float64) float64 {
	v = min(max(v, a.Low), a.High)
	return from + (to-from)*math.Log(v/a.Low)/math.Log(a.High/a.Low)
}

func (c *chart) PlaceX(v float64) string {
	return fmt.Sprintf("%.1f", c.X.at(v, chartLeft, chartRight))
}

func (c *chart) PlaceY(v float64) string {
	return fmt.Sprintf("%.1f", c.Y.at(v, chartBottom, chartTop))
}

// Path are the points of the i-th line.
func (c *chart) Path(i int) string {
	var b strings.Builder
	for _, p := range c.Lines[i].points {
		fmt.Fprintf(&b, "%s,%s ", c.PlaceX(p.x), c.PlaceY(p.y))
	}
	return strings.TrimSpace(b.String())
}

func (c *chart) Color(i int) string {
	if colors := strings.Fields(chartColors); i < len(colors) {
		return colors[i]
	}
	return chartColorRest
}

// Row is the height of the name of the i-th line.
func (c *chart) Row(i int) int { return chartTop + 10 + i*chartLineStep }

var chartSVG = template.Must(template.New("chart").Parse(fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" font-family="sans-serif" font-size="13">
<rect width="%[1]d" height="%[2]d" fill="#fff"/>
<text x="%[3]d" y="28" font-size="17">{{.Title}}</text>
{{range .X.Ticks}}<path d="M{{$.PlaceX .At}} %[5]d V%[6]d" stroke="%[7]s"/>
<text x="{{$.PlaceX .At}}" y="478" text-anchor="middle">{{.Name}}</text>
{{end}}{{range .Y.Ticks}}<path d="M%[3]d {{$.PlaceY .At}} H%[4]d" stroke="%[7]s"/>
<text x="62" y="{{$.PlaceY .At}}" text-anchor="end" dominant-baseline="middle">{{.Name}}</text>
{{end}}<text x="360" y="504" text-anchor="middle">{{.X.Name}}</text>
<text x="18" y="255" text-anchor="middle" transform="rotate(-90 18 255)">{{.Y.Name}}</text>
{{range $i, $l := .Lines}}<polyline points="{{$.Path $i}}" fill="none" stroke="{{$.Color $i}}" stroke-width="2"{{if $l.Dashed}} stroke-dasharray="6 4"{{end}}/>
<path d="M664 {{$.Row $i}} h24" stroke="{{$.Color $i}}" stroke-width="2"{{if $l.Dashed}} stroke-dasharray="6 4"{{end}}/>
<text x="694" y="{{$.Row $i}}" dominant-baseline="middle">{{$l.Name}}</text>
{{end}}<text x="664" y="504" font-size="11">{{.Note}}</text>
</svg>
`, chartWidth, chartHeight, chartLeft, chartRight, chartTop, chartBottom, grayed)))

// write draws the chart into a folder; "" is nowhere.
func (c *chart) write(folder, name string) (err error) {
	if folder == "" {
		return nil
	}
	f, err := os.Create(filepath.Join(folder, name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return chartSVG.Execute(f, c)
}
