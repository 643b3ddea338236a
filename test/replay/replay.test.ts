import assert from 'node:assert/strict'
import { readFileSync, statSync } from 'node:fs'
import { RecordedTraffic, replayed } from './traffic.ts'

const profile = (...plugins: readonly string[]) =>
  `schedulingProfiles:\n  - name: default\n    plugins:\n${plugins.map((each) => `      - ${each}\n`).join('')}`

const SAME: Readonly<Record<string, string>> = {
  'the default': readFileSync('config/profiles/default.yaml', 'utf8'),
  "llm-d's weights": readFileSync('config/profiles/llm-d.yaml', 'utf8'),
  'costs in seconds': readFileSync('config/profiles/cost.yaml', 'utf8'),
  'a weighted draw': profile(
    '{ type: prefix-cache-scorer, weight: 2 }',
    '{ type: queue-scorer }',
    '{ type: weighted-random-picker, parameters: { maxNumOfEndpoints: 2 } }',
  ),
  'filters, ties and adapters': profile(
    '{ type: utilization-filter, parameters: { conditions: [{ metric: active-requests, maxValue: 9 }, { metric: kv-cache-utilization, maxValue: 0.9 }] } }',
    '{ type: prefix-cache-affinity-filter, parameters: { affinityThreshold: 0.3, explorationProbability: 0.2 } }',
    '{ type: context-length-aware, weight: 1 }',
    '{ type: lora-affinity-scorer, weight: 1 }',
    '{ type: no-hit-lru-scorer, weight: 2 }',
    '{ type: token-load-scorer, weight: 1 }',
    '{ type: max-score-picker }',
  ),
  'sessions by id': profile(
    '{ type: session-affinity-scorer, weight: 2, parameters: { strategy: session_id } }',
    '{ type: header-label-affinity-scorer, parameters: { headerName: X-Zone, labelKey: zone } }',
    '{ type: active-request-scorer }',
  ),
  'sessions that the client remembers': profile(
    '{ type: session-affinity-filter }',
    '{ type: running-requests-size-scorer }',
    '{ type: random-picker }',
  ),
  'a profile named by a header': `plugins:
  - { type: header-profile-handler }
schedulingProfiles:
  - name: decode
    plugins: [{ type: queue-scorer }, { type: random-picker, name: any }]
  - name: other
    plugins: [{ type: kv-cache-utilization-scorer }, { type: max-score-picker }]
`,
}

/** The default profile's decisions are as many as a recording of some minutes has. */
const DECISIONS = { 'the default': 10_000 } as Readonly<Record<string, number>>

describe('replay', () => {
  for (const [what, text] of Object.entries(SAME)) {
    const count = DECISIONS[what] ?? 2500
    it(`picks again what was picked by ${what}, of ${count} decisions all`, async function () {
      this.timeout(200_000)
      const traffic = await RecordedTraffic.start(text)
      try {
        const sentMs = performance.now()
        await traffic.send(count)
        await traffic.finish()
        const startMs = performance.now()
        const report = await replayed([traffic.file], text)
        const seconds = (performance.now() - startMs) / 1000
        const bytes = statSync(traffic.file).size
        console.log(
          `      ${Math.round(bytes / count)} bytes per decision; made in ${((startMs - sentMs) / 1000).toFixed(1)} s, replayed in ${seconds.toFixed(1)} s`,
        )
        assert.deepEqual(
          { decisions: report.decisions, moved: report.moved, refused: report.refused },
          { decisions: count, moved: 0, refused: { before: 0, after: 0 } },
          JSON.stringify(report, null, 1).slice(0, 3000),
        )
        assert.deepEqual(report.reproduced, { decisions: count, same: count, problems: [] })
        assert.deepEqual(report.lacks, [])
        assert.deepEqual(report.warnings, [])
        assert.equal(report.before.picked, count - traffic.refused)
      } finally {
        await traffic.close()
      }
    })
  }

  const llmD = (queue: number) =>
    profile(
      '{ type: precise-prefix-cache-scorer, weight: 3 }',
      `{ type: queue-scorer, weight: ${queue} }`,
      '{ type: kv-cache-utilization-scorer, weight: 2 }',
    )
  const shadow = (text: string) =>
    text.replace(
      'schedulingProfiles:\n  - name: default',
      'schedulingProfiles:\n  - name: tried\n    shadow: true\n    timeBudgetMs: 1000',
    )

  it('prints as moved what another queue weight moves when its profile runs beside the real one', async function () {
    this.timeout(100_000)
    const both = `${llmD(2)}${shadow(llmD(6)).split('\n').slice(1).join('\n')}`
    const traffic = await RecordedTraffic.start(both, { seed: 5 })
    try {
      await traffic.send(3000)
      await traffic.finish()
      const { metrics } = traffic.setup
      const lines = (await metrics.text()).split('\n')
      const counted = (result: string) =>
        Number(
          lines
            .find((line) =>
              line.startsWith(`epp_shadow_decisions_total{profile="tried",result="${result}"}`),
            )
            ?.split(' ')
            .at(-1),
        )
      const report = await replayed([traffic.file], llmD(6))
      assert.ok(counted('different') > 100, `${counted('different')} differ`)
      assert.deepEqual(
        { moved: report.moved, same: report.decisions - report.moved },
        { moved: counted('different'), same: counted('same') },
      )
      assert.equal(counted('failed') + counted('skipped'), 0)
      // Of the decisions that still are known, each is counted by hand from the scores that were given.
      const kept = traffic.setup.decisions.list(100)
      for (const { shadows, endpoints } of kept) {
        const [said] = shadows!
        const { totals, endpoints: scored, picked } = said!.trace!
        const best = Math.max(...totals)
        assert.ok(best - totals[scored.indexOf(picked[0]!)]! < 1e-9)
        assert.equal(said!.result, picked[0] === endpoints[0] ? 'same' : 'different')
      }
      // Held against the old file instead of the recorded picks it is the same.
      const against = await replayed([traffic.file], llmD(6), llmD(2))
      assert.equal(against.moved, report.moved)
      assert.deepEqual(
        against.before.scorers.map(({ scorer, weight }) => `${scorer} ${weight}`),
        [...['precise-prefix-cache-scorer 3', 'queue-scorer 2'], 'kv-cache-utilization-scorer 2'],
      )
      const decided = (picks: typeof report.after) =>
        picks.scorers.find(({ scorer }) => scorer === 'queue-scorer')!.decided
      assert.ok(decided(report.after) > decided(report.before), 'the queue decides more')
      assert.ok(report.after.hitRate < report.before.hitRate, 'and the caches less')
      assert.ok(report.ceiling >= report.before.hitRate, `ceiling ${report.ceiling}`)
      assert.equal(report.mostDifferent.length, 10)
      const lost = report.mostDifferent.map((each) => each.matchedFrom! - each.matchedTo!)
      assert.deepEqual(
        lost,
        [...lost].sort((a, b) => b - a),
      )
      assert.equal(
        report.endpoints.reduce((sum, { after }) => sum + after, 0),
        report.after.picked,
      )
    } finally {
      await traffic.close()
    }
  })

  it('names what a configuration asks for and the recording does not have', async () => {
    const traffic = await RecordedTraffic.start(profile('{ type: queue-scorer }'))
    try {
      await traffic.send(50)
      await traffic.finish()
      const text = profile(
        '{ type: cost-scorer }',
        '{ type: prefix-cache-scorer, parameters: { blockSizeTokens: 32 } }',
        '{ type: header-label-affinity-scorer, parameters: { headerName: X-Zone, labelKey: zone } }',
      )
      const { lacks, reproduced } = await replayed([traffic.file], text)
      assert.equal(reproduced.same, 50)
      assert.deepEqual(
        lacks.map((each) => each.replace(/\(.*?times\)/, '(N times)')),
        [
          'new: "cost-scorer", "prefix-cache-scorer" ask for token counts, which the recording does not have (N times)',
          'new: "header-label-affinity-scorer" asks for the request header x-zone, which the recording does not have (N times)',
          'new: sets RoutedPrefixIndex to {"blockTokens":32,"maxPrefixTokens":131072,"blocksPerEndpoint":31250}; what it answers was recorded under {"maxPrefixTokens":131072,"blocksPerEndpoint":31250}',
        ],
      )
    } finally {
      await traffic.close()
    }
  })
})
