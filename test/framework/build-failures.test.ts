import assert from 'node:assert/strict'
import { Type } from 'typebox'
import { buildGeneration } from '../../src/framework/build.ts'
import { Container } from '../../src/framework/container.ts'
import { type AnyPlugin, definePlugin } from '../../src/framework/plugin.ts'
import {
  LOGGER,
  type LogFields,
  type Logger,
  METRICS,
  NOTICES,
} from '../../src/framework/services.ts'
import { PrometheusMetrics } from '../../src/telemetry/metrics.ts'
import { createNotices } from '../../src/telemetry/notices.ts'
import { eventually } from '../e2e/process.ts'

const picker = (type: string, create: () => unknown): AnyPlugin =>
  definePlugin({
    kind: 'picker',
    type,
    description: 'A picker.',
    params: Type.Object({}),
    create: create as never,
  })

describe('a configuration with a plugin that cannot be made', () => {
  const disposed: string[] = []
  const logged: (readonly [string, LogFields | undefined])[] = []
  const sound = (type: string, dispose?: () => void) =>
    picker(type, () => ({
      pick: () => [],
      [Symbol.dispose]() {
        disposed.push(type)
        dispose?.()
      },
    }))
  const build = (...plugins: readonly AnyPlugin[]) => {
    disposed.length = 0
    logged.length = 0
    const logger: Logger = {
      debug() {},
      info() {},
      warn() {},
      error: (message, fields) => logged.push([message, fields]),
      warnOnce() {},
      named: () => logger,
    }
    const services = new Container()
      .provide(LOGGER, {}, () => logger)
      .provide(METRICS, {}, () => new PrometheusMetrics())
      .provide(NOTICES, {}, () => createNotices(() => 0))
    const specs = plugins.map((plugin, i) => ({ name: `p${i}`, plugin, params: {} }))
    const profile = { name: 'default', filters: [], scorers: [], picker: 'p0' }
    return buildGeneration(
      1,
      { plugins: specs, profiles: [profile], handler: 'p0' },
      services,
      [],
      () => ({}),
    )
  }

  for (const [what, create, message] of [
    [
      'throws',
      () => {
        throw new Error('no luck')
      },
      'the plugin "p2" (bad) cannot be made: no luck; mend it, change its parameters, or take it out',
    ],
    [
      'gives nothing',
      () => undefined,
      'the plugin "p2" (bad) cannot be made: create must give an object, got undefined; mend it, change its parameters, or take it out',
    ],
    [
      'gives an object without its method',
      () => ({ score: () => [] }),
      'the plugin "p2" (bad) cannot be made: create gave a picker without the method pick; mend it, change its parameters, or take it out',
    ],
  ] as const) {
    it(`names the one whose create ${what}, and disposes of those made before it, the last first`, async () => {
      assert.throws(() => build(sound('a'), sound('b'), picker('bad', create), sound('c')), {
        code: 'CONFIG_INVALID',
        message,
      })
      await eventually('two are disposed of', () => disposed.length === 2)
      assert.deepEqual(disposed, ['b', 'a'])
      assert.deepEqual(logged, [])
    })
  }

  it('names the one that cannot say whether it watches responses', async () => {
    const unsure = sound('unsure')
    const watchesResponses = () => {
      throw new Error('no idea')
    }
    assert.throws(() => build(sound('a'), { ...unsure, watchesResponses }), {
      code: 'CONFIG_INVALID',
      message:
        'the plugin "p1" (unsure) cannot be made: no idea; mend it, change its parameters, or take it out',
    })
    await eventually('both are disposed of', () => disposed.length === 2)
  })

  it('disposes of all though one fails to close, and says so', async () => {
    const stuck = sound('b', () => {
      throw new Error('stuck')
    })
    assert.throws(() =>
      build(
        sound('a'),
        stuck,
        sound('c'),
        picker('bad', () => 1),
      ),
    )
    await eventually('it is said', () => logged.length > 0)
    assert.deepEqual(disposed, ['c', 'b', 'a'])
    assert.deepEqual(logged, [
      ['A plugin of a configuration that was given up failed to close', { problem: 'stuck' }],
    ])
  })

  it('closes all of a generation that is replaced though one fails, which is told', async () => {
    const stuck = sound('b', () => {
      throw new Error('stuck')
    })
    await assert.rejects(
      async () => build(sound('a'), stuck, sound('c'))[Symbol.asyncDispose](),
      /^Error: stuck$/,
    )
    assert.deepEqual(disposed, ['c', 'b', 'a'])
  })
})
