import assert from 'node:assert/strict'
import { Type } from 'typebox'
import { parseConfig } from '../../src/config/parse.ts'
import { problemLine, problemsOf } from '../../src/config/problem.ts'
import { type AnyPlugin, definePlugin, type PluginUse } from '../../src/framework/plugin.ts'
import { plugins } from './plugins.ts'

/** A scorer that keeps what its `lint` is given, and says something of every kind. */
function talkative(): { plugin: AnyPlugin; uses: PluginUse[] } {
  const uses: PluginUse[] = []
  const plugin = definePlugin({
    kind: 'scorer',
    type: 'talkative-scorer',
    description: 'Says much.',
    params: Type.Object({
      colour: Type.String({ default: 'red' }),
      depth: Type.Optional(Type.Integer()),
      inner: Type.Object({ size: Type.Integer({ default: 3 }) }, { default: {} }),
    }),
    lint: ({ colour }, use) => {
      uses.push(use)
      return [
        { kind: 'warning', path: [], message: 'is idle' },
        { kind: 'warning', path: ['colour'], message: `"${colour}" is odd`, known: ['green'] },
        { kind: 'unused', path: ['depth'], message: 'is not looked at' },
        { kind: 'unused', path: ['inner'], message: 'is not looked at' },
      ]
    },
    create: () => ({ score: (_request, endpoints) => endpoints.map(() => 1) }),
  })
  return { plugin, uses }
}

const AT = 'schedulingProfiles[0].plugins[0]'
const inProfile = (entry: string) =>
  `schedulingProfiles:\n  - name: a\n    plugins:\n      - ${entry}\n      - type: queue-scorer\n`

function problems(text: string, plugin: AnyPlugin, strict = false): readonly string[] {
  const parse = () => parseConfig(text, 'p', [...plugins, plugin], { strict }).warnings
  try {
    return parse().map(problemLine)
  } catch (error) {
    return problemsOf(error).map((found) => `${found.severity} ${problemLine(found)}`)
  }
}

describe('lint', () => {
  it("puts a plugin's remarks where they belong", () => {
    const { plugin } = talkative()
    assert.deepEqual(problems(inProfile('type: talkative-scorer'), plugin), [
      `p:4:9  ${AT}: "talkative-scorer" is idle`,
      `p:4:9  ${AT}.parameters.colour: "red" is odd`,
    ])
    assert.deepEqual(
      problems(
        inProfile(
          '{ type: talkative-scorer, parameters: { colour: grean, depth: 1, inner: { size: 4 } } }',
        ),
        plugin,
      ),
      [
        `p:4:9  ${AT}: "talkative-scorer" is idle`,
        `p:4:57  ${AT}.parameters.colour: "grean" is odd; did you mean "green"?`,
        `p:4:64  ${AT}.parameters.depth: is not looked at`,
        `p:4:74  ${AT}.parameters.inner: is not looked at`,
      ],
    )
  })

  it('is silent of what says no more than the default, in whole or in part', () => {
    const { plugin } = talkative()
    for (const inner of ['{}', '{ size: 3 }']) {
      const text = inProfile(`{ type: talkative-scorer, parameters: { inner: ${inner} } }`)
      assert.equal(problems(text, plugin).length, 2, inner)
    }
  })

  it('shows a plugin what stands around it, and says once what it says of two profiles', () => {
    const { plugin, uses } = talkative()
    const text = [
      'plugins:',
      '  - { type: talkative-scorer, name: t }',
      '  - { type: header-profile-handler, parameters: { defaultProfile: a } }',
      '  - { type: random-picker }',
      'schedulingProfiles:',
      '  - { name: a, plugins: [{ type: decode-filter }, { pluginRef: t }, { type: max-score-picker }] }',
      '  - { name: b, plugins: [{ pluginRef: t }] }',
    ].join('\n')
    const found = problems(text, plugin)
    assert.equal(found.filter((line) => line.includes('plugins[0]: "t" is idle')).length, 1)
    assert.deepEqual(
      uses.map(({ name, profile, profiles }) => [name, profile.map((each) => each.type), profiles]),
      [
        ['t', ['talkative-scorer', 'decode-filter', 'max-score-picker'], ['a', 'b']],
        ['t', ['talkative-scorer', 'random-picker'], ['a', 'b']],
      ],
    )
    assert.deepEqual(
      uses[0]?.plugins
        .map(({ name, kind, type, params }) => [name, kind, type, params])
        .slice(0, 2),
      [
        ['t', 'scorer', 'talkative-scorer', { colour: 'red', inner: { size: 3 } }],
        [
          'header-profile-handler',
          'handler',
          'header-profile-handler',
          { headerName: 'EPP-Profile', defaultProfile: 'a' },
        ],
      ],
    )
  })

  it('asks no plugin whose parameters are wrong, and goes on with the others', () => {
    const { plugin, uses } = talkative()
    const text = inProfile('{ type: talkative-scorer, parameters: { depth: deep } }').replace(
      'type: queue-scorer',
      '{ type: queue-scorer, weight: 0 }',
    )
    assert.deepEqual(problems(text, plugin), [
      `error p:4:56  ${AT}.parameters.depth: must be an integer, got "deep"`,
      'warning p:5:39  schedulingProfiles[0].plugins[1].weight: weight 0 switches "queue-scorer" off; give it a weight, or remove it',
    ])
    assert.equal(uses.length, 0)
  })

  it('goes on when a plugin fails to say something', () => {
    const params = Type.Object({})
    const fail = () => {
      throw new Error('no idea')
    }
    const scorer = definePlugin({
      ...{ kind: 'scorer', type: 'mute-scorer', description: 'Says nothing.', params, lint: fail },
      create: () => ({ score: (_request, endpoints) => endpoints.map(() => 1) }),
    })
    const handler = definePlugin({
      ...{ kind: 'handler', type: 'mute', description: 'Says nothing.', params, selects: fail },
      create: () => ({ next: (_request, [primary]) => ({ primary: primary! }) }),
    })
    const text = `plugins: [{ type: mute }]\n${inProfile('type: mute-scorer')}`
    const { warnings } = parseConfig(text, 'p', [...plugins, scorer, handler])
    assert.deepEqual(warnings.map(problemLine), [
      'p:1:11  plugins[0]: "mute" failed to say which profiles it runs: Error: no idea; mend the plugin',
      `p:5:9  ${AT}: the lint of "mute-scorer" failed: Error: no idea; mend the plugin`,
    ])
  })

  it('says the same when warnings are errors', () => {
    const { plugin, uses } = talkative()
    const text = inProfile('{ type: talkative-scorer, weight: 0, parameters: { depth: 1 } }')
    const lax = problems(text, plugin)
    assert.equal(lax.length, 4)
    assert.deepEqual(
      problems(text, plugin, true),
      lax.map((line) => `error ${line}`),
    )
    assert.equal(uses.length, 2)
  })
})
