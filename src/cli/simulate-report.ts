import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Band, Summary } from '../sim/simulation/summary.ts'
import { figure, type SimulatedRow, shortNames, simulatedTable } from './simulate-table.ts'

/** One line of a plot. */
interface Line {
  readonly name: string
  readonly values: readonly (number | undefined)[]
}

interface Plot {
  readonly title: string
  readonly unit: string
  readonly across: string
  readonly at: readonly number[]
  readonly lines: readonly Line[]
}

/** Told apart by people who see few colours (Okabe and Ito's palette), and by their dashes. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000']
const STYLE = `
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff }
pre, table { font: 13px/1.4 ui-monospace, monospace; overflow-x: auto }
figure { margin: 1.5rem 0 } figcaption { font-weight: 600 }
td, th { padding: .1rem .7rem; text-align: right } th:first-child { text-align: left }
`
const require = createRequire(import.meta.url)
const asset = (name: string) => readFileSync(require.resolve(`uplot/dist/${name}`), 'utf8')

/**
 * A page with the table and its plots that needs nothing but itself. Each plot has its figures as a table beside it.
 *
 * @param rows at least one
 */
export function simulationReport(rows: readonly SimulatedRow[]): string {
  const plots = [...byRate(rows), ...overTime(rows)]
  const { workload, runs } = rows[0]!
  const title = `What became of ${workload}, simulated`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escaped(title)}</title>
<style>${asset('uPlot.min.css')}${STYLE}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
<p>${runs.length} ${runs.length === 1 ? 'seed' : 'seeds'} of each. Nothing here ran on a GPU: engines are a cost model (docs/simulator.md).</p>
<pre>${escaped(simulatedTable(rows))}</pre>
${plots.map(figureOf).join('\n')}
</main>
<script>${asset('uPlot.iife.min.js')}</script>
<script type="application/json" id="plots">${JSON.stringify(plots).replaceAll('<', '\\u003c')}</script>
<script>${DRAW}</script>
</body>
</html>
`
}

/** Medians against the rate; none where there is one rate alone. */
function byRate(rows: readonly SimulatedRow[]): readonly Plot[] {
  const rates = [...new Set(rows.map(({ rate }) => rate))]
  if (rates.length < 2) return []
  const names = shortNames(rows.map(({ config }) => config))
  const plot = (title: string, unit: string, value: (summary: Summary) => Band): Plot => ({
    title: `${title} by rate`,
    unit,
    across: 'rate',
    at: rates,
    lines: [...names].map(([config, name]) => ({
      name,
      values: rates.map((rate) => {
        const row = rows.find((each) => each.config === config && each.rate === rate)
        return row && finite(value(row.summary).median)
      }),
    })),
  })
  return [
    plot('Mean time to first token', 's', ({ ttftMeanS }) => ttftMeanS),
    plot('90th percentile of the time to first token', 's', ({ ttftP90S }) => ttftP90S),
    plot('Tokens generated', 'tokens/s', (summary) => summary.outputTokensPerSecond),
    plot('Share of prompt tokens that were cached', '', ({ hitRate }) => hitRate),
    plot('Busiest engine over the mean', 'times', ({ skew }) => skew),
  ]
}

/** The first seed's run from beginning to end. */
function overTime(rows: readonly SimulatedRow[]): readonly Plot[] {
  const names = shortNames(rows.map(({ config }) => config))
  return [...new Set(rows.map(({ rate }) => rate))].flatMap((rate) => {
    const own = rows.filter((row) => row.rate === rate)
    type Moment = SimulatedRow['runs'][number]['timeline'][number]
    const plot = (title: string, unit: string, value: (moment: Moment) => number | undefined) => ({
      title: `${title} over time, rate ${rate}, first seed`,
      unit,
      across: 'seconds',
      at: own[0]!.runs[0]!.timeline.map(({ atS }) => atS),
      lines: own.map(({ config, runs }) => ({
        name: names.get(config)!,
        values: runs[0]!.timeline.map((moment) => finite(value(moment))),
      })),
    })
    return [
      plot('Mean time to first token', 's', ({ ttftS }) => ttftS),
      plot('Requests that wait in engines', 'requests', ({ waiting }) => waiting),
      plot('Requests in flight', 'requests', ({ inFlight }) => inFlight),
    ]
  })
}

function figureOf(plot: Plot, number: number): string {
  const { title, unit, across, at, lines } = plot
  const head = [across, ...lines.map(({ name }) => name)]
  const cells = (values: readonly string[]) => values.map((each) => `<td>${each}</td>`).join('')
  return `<figure>
<figcaption id="t${number}">${escaped(title)}${unit === '' ? '' : ` (${unit})`}</figcaption>
<div class="plot" data-plot="${number}" role="img" aria-labelledby="t${number}" aria-describedby="d${number}"></div>
<p id="d${number}">${lines.map((line) => escaped(told(line))).join('; ')}.</p>
<details><summary>Figures</summary><table><thead><tr>${head.map((each) => `<th scope="col">${escaped(each)}</th>`).join('')}</tr></thead><tbody>
${at.map((each, i) => `<tr>${cells([figure(each), ...lines.map(({ values }) => figure(values[i] ?? Number.NaN))])}</tr>`).join('\n')}
</tbody></table></details>
</figure>`
}

function told({ name, values }: Line): string {
  const known = values.filter((value) => value !== undefined)
  if (known.length === 0) return `${name}: nothing`
  return `${name}: from ${figure(Math.min(...known))} to ${figure(Math.max(...known))}, at last ${figure(known.at(-1)!)}`
}

function finite(value: number | undefined): number | undefined {
  return value !== undefined && Number.isFinite(value) ? value : undefined
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`)
}

/** Runs in the page. */
const DRAW = `
const plots = JSON.parse(document.getElementById('plots').textContent)
const colours = ${JSON.stringify(COLOURS)}
for (const place of document.querySelectorAll('.plot')) {
  const { at, lines, across, unit } = plots[place.dataset.plot]
  const series = lines.map(({ name }, i) => ({
    label: name, stroke: colours[i % colours.length], width: 2, dash: i % 3 === 0 ? [] : [4 * (i % 3), 4], spanGaps: true,
  }))
  new uPlot({
    width: Math.min(1000, document.body.clientWidth - 32), height: 280,
    scales: { x: { time: false }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.05 : 1] } },
    axes: [{ label: across }, { label: unit, size: 70 }],
    series: [{ label: across }, ...series],
  }, [at, ...lines.map(({ values }) => values.map((value) => value ?? null))], place)
}
`
