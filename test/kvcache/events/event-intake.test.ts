import assert from 'node:assert/strict'
import type { Endpoint } from '../../../src/framework/endpoint.ts'
import type { RequestInput } from '../../../src/framework/testing.ts'
import { request } from '../../../src/framework/testing.ts'
import { createEngineBlockHasher } from '../../../src/kvcache/hashing/engine-hash.ts'
import type { KvCacheOptions } from '../../../src/kvcache/kv-cache.ts'
import { CLEARED, hashOf, message, removed, stored, tokensOf } from '../events.ts'
import { createKvCache, models } from '../fakes.ts'

const TOPIC = 'kv@10.0.0.1@base'
// What arrives when a manifest's variable was not expanded.
const UNEXPANDED = `kv@$${'{POD_IP}'}@base`
const BOUND = { kind: 'bound' } as const

function setup(known = models(['base']), limits?: KvCacheOptions['limits']) {
  const kv = createKvCache(known, undefined, limits)
  const send = (
    sequence: number,
    events: readonly unknown[],
    more: { topic?: string; rank?: number; timestamp?: number } = {},
  ) => kv.cache.intake.receive(BOUND, message(more.topic ?? TOPIC, sequence, events, more))
  /** Blocks of a chain that the endpoint holds for a request; the prompt has 9 whole blocks. */
  const held = (
    endpoint: Endpoint,
    chain = 'a',
    input: RequestInput & { blockTokens?: number } = {},
  ) => {
    const { blockTokens = 16, ...fields } = input
    const tokens = Int32Array.from([...tokensOf(chain, 0, 9, blockTokens), 1])
    return kv.cache.index.match(
      request({ model: 'base', targetModel: 'base', ...fields }),
      { prompts: [tokens], exact: true },
      [endpoint],
    ).blocks[0]
  }
  const results = (result: string) => kv.metrics.sum(`epp_kv_event_messages_total{${result}}`)
  const skipped = (reason: string) => kv.metrics.sum(`epp_kv_events_skipped_total{${reason}}`)
  return { ...kv, send, held, results, skipped }
}

describe('EventIntake', () => {
  it('applies stores and removals, and counts them for the beat', () => {
    const { cache, endpoints, send, held } = setup()
    const endpoint = endpoints.add()
    assert.equal(send(0, [stored(), stored({ from: 4, blocks: 3 })]), 'applied')
    assert.equal(held(endpoint), 7)
    send(1, [removed('a', [6, 2])])
    assert.equal(held(endpoint), 2)
    const { admissions, evictions, lookups, hits, latency_count } = cache.beat()
    assert.deepEqual([admissions, evictions, lookups, hits, latency_count], [7, 2, 2, 2, 2])
  })

  it('drops a message of too many bytes, and sees the gap that it leaves', () => {
    const limits = { maxEventBytes: 2000, maxEventsPerSecond: 100 }
    const { endpoints, send, held, results, cache } = setup(undefined, limits)
    const endpoint = endpoints.add()
    assert.equal(send(0, [stored()]), 'applied')
    assert.equal(send(1, [stored({ from: 4, blocks: 100 })]), 'too_large')
    assert.equal(results('too_large'), 1)
    assert.equal(held(endpoint), 4)
    assert.equal(send(2, [removed('a', [3])]), 'applied')
    assert.equal(held(endpoint), 0, 'what it holds is not known any more')
    assert.equal(cache.status()[0]?.coverage, 'gap')
  })

  it('drops the messages of a publisher that sends too many, and forgets what it held', () => {
    const limits = { maxEventBytes: 1e6, maxEventsPerSecond: 3 }
    const { endpoints, send, held, results, cache, clock } = setup(undefined, limits)
    const flooding = endpoints.add()
    const other = endpoints.add({ address: '10.0.0.2' })
    assert.equal(send(0, [stored()]), 'applied')
    assert.equal(held(flooding), 4)
    const told = [1, 2, 3, 4, 5].map((n) => send(n, [stored({ chain: 'b', from: 0 })]))
    assert.deepEqual(told, ['applied', 'applied', 'too_many', 'too_many', 'too_many'])
    assert.equal(results('too_many'), 3)
    assert.equal(held(flooding), 0)
    assert.equal(cache.status()[0]?.coverage, 'gap')
    assert.equal(send(0, [stored()], { topic: 'kv@10.0.0.2@base' }), 'applied')
    assert.equal(held(other), 4, 'another publisher is heard as before')
    clock.ms += 1000
    assert.equal(send(6, [stored()]), 'applied')
    assert.equal(held(flooding), 4)
  })

  it('counts references: a block stored twice survives one removal', () => {
    const { endpoints, send, held } = setup()
    const endpoint = endpoints.add()
    send(0, [stored(), stored(), removed('a', [0])])
    assert.equal(held(endpoint), 4)
    send(1, [removed('a', [0])])
    assert.equal(held(endpoint), 0)
  })

  describe('sequence', () => {
    it('drops a duplicate', () => {
      const { endpoints, send, held, results } = setup()
      const endpoint = endpoints.add()
      send(0, [stored()])
      assert.equal(send(0, [stored()]), 'duplicate')
      send(1, [removed('a', [0])])
      assert.equal(held(endpoint), 0)
      assert.equal(results('duplicate'), 1)
    })

    it('clears the endpoint on a gap, says so with numbers, and goes on', () => {
      const { cache, endpoints, send, held, notices, logger, metrics } = setup()
      const endpoint = endpoints.add()
      send(0, [stored()])
      assert.equal(cache.index.tracks(endpoint), true)
      send(4, [stored({ chain: 'b' }), stored({ from: 4, blocks: 1 })])
      assert.equal(held(endpoint), 0)
      assert.equal(held(endpoint, 'b'), 4)
      assert.equal(cache.index.tracks(endpoint), false)
      assert.equal(cache.status()[0]!.coverage, 'gap')
      assert.equal(metrics.sum('epp_kv_event_gaps_total'), 1)
      assert.equal(metrics.sum('epp_kv_event_messages_lost_total'), 3)
      assert.match(
        notices.list()[0]!.text,
        /^10\.0\.0\.1:8000 rank 0: 3 KV events lost \(expected sequence 1, got 4\)/,
      )
      const line = logger.lines.find(({ level }) => level === 'warn')!
      assert.deepEqual(
        [
          line.fields.endpoint,
          line.fields.expectedSequence,
          line.fields.sequence,
          line.fields.lost,
        ],
        ['10.0.0.1:8000', 1, 4, 3],
      )
      assert.equal(cache.status()[0]!.publishers[0]!.orphans, 1)
      send(5, [stored({ chain: 'c' })])
      assert.equal(notices.list().length, 1)
    })

    it('counts an engine that began anew: cleared, and whole again from its first message', () => {
      const { cache, endpoints, send, held, notices, metrics } = setup()
      const endpoint = endpoints.add()
      send(0, [stored()])
      send(3, [stored({ chain: 'b' })])
      assert.equal(notices.list().length, 1)
      send(0, [stored({ chain: 'c' })])
      assert.deepEqual([held(endpoint), held(endpoint, 'b'), held(endpoint, 'c')], [0, 0, 4])
      assert.equal(cache.status()[0]!.coverage, 'complete')
      assert.equal(cache.status()[0]!.publishers[0]!.restarts, 1)
      assert.equal(metrics.sum('epp_kv_publisher_restarts_total'), 1)
      assert.deepEqual(notices.list(), [])
    })

    it('tells a restart from a duplicate of the same number by its time', () => {
      const { endpoints, send, held } = setup()
      const endpoint = endpoints.add()
      send(0, [stored()], { timestamp: 10.5 })
      assert.equal(send(0, [stored({ chain: 'b' })], { timestamp: 20.5 }), 'applied')
      assert.deepEqual([held(endpoint), held(endpoint, 'b')], [0, 4])
    })

    it('applies what comes when it joins late, and says that not all is known', () => {
      const { cache, endpoints, send, held, notices, skipped } = setup()
      const endpoint = endpoints.add()
      send(7, [stored(), stored({ chain: 'b', from: 3, blocks: 1 })])
      assert.equal(held(endpoint), 4)
      assert.equal(skipped('unknown_parent'), 1)
      assert.equal(cache.index.tracks(endpoint), false)
      assert.match(notices.list()[0]!.text, /joined at sequence 7/)
      send(8, [CLEARED, stored({ chain: 'c' })])
      assert.deepEqual([held(endpoint), held(endpoint, 'c')], [0, 4])
      assert.equal(cache.index.tracks(endpoint), true)
      assert.deepEqual(notices.list(), [])
    })

    it('keeps a sequence per rank', () => {
      const { cache, endpoints, send, held } = setup()
      const endpoint = endpoints.add()
      send(0, [stored()], { rank: 0 })
      send(0, [stored({ chain: 'b', blocks: 2 })], { rank: 1 })
      send(1, [CLEARED], { rank: 1 })
      send(2, [stored({ chain: 'b', blocks: 3 })], { rank: 1 })
      assert.equal(held(endpoint), 4)
      assert.equal(held(endpoint, 'b'), 3)
      assert.equal(held(endpoint, 'b', { headers: { 'x-data-parallel-rank': '0' } }), 0)
      assert.equal(held(endpoint, 'b', { headers: { 'x-data-parallel-rank': '1' } }), 3)
      assert.deepEqual(
        cache.status()[0]!.publishers.map(({ rank, lastSequence }) => [rank, lastSequence]),
        [
          [0, 0],
          [1, 2],
        ],
      )
    })

    it('takes a message that cannot be read for a lost one', () => {
      const { cache, endpoints, send, results } = setup()
      endpoints.add()
      send(0, [stored()])
      const broken = message(TOPIC, 1, [stored({ chain: 'b' })])
      assert.equal(
        cache.intake.receive(BOUND, [broken[0], broken[1], broken[2].subarray(0, 40)]),
        'malformed',
      )
      assert.equal(cache.status()[0]!.coverage, 'complete')
      send(2, [])
      assert.equal(cache.status()[0]!.coverage, 'gap')
      assert.equal(results('malformed'), 1)
    })
  })

  describe('address', () => {
    it('drops before decoding what is of no endpoint that discovery knows', () => {
      const { cache, endpoints, results } = setup()
      endpoints.add()
      const [topic, sequence] = message('kv@10.9.9.9@base', 0, [])
      // The payload could not be decoded: that it is no `malformed` shows that nobody tried.
      assert.equal(
        cache.intake.receive(BOUND, [topic, sequence, Buffer.of(0xc1)]),
        'unknown_endpoint',
      )
      assert.equal(results('unknown_endpoint'), 1)
    })

    it('shows a topic of another form once, also with a variable that was not expanded', () => {
      const { endpoints, send, notices, logger, results } = setup()
      endpoints.add()
      for (const topic of ['', 'kv-events', UNEXPANDED, UNEXPANDED, 'kv@pod-7@m']) {
        assert.equal(send(0, [stored()], { topic }), 'bad_topic')
      }
      assert.equal(results('bad_topic'), 5)
      assert.match(notices.get('kv-topic')!, /topic "kv@pod-7@m" are dropped; set the topic/)
      assert.equal(logger.lines.filter(({ message: m }) => m.includes('POD_IP')).length, 1)
    })

    it('says no more than so many strangers, and keeps nothing of the rest', () => {
      const { endpoints, send, logger } = setup()
      endpoints.add()
      for (let i = 0; i < 10_000; i++) send(0, [], { topic: `kv@10.1.${i >> 8}.${i & 255}@m` })
      assert.ok(logger.lines.length < 300, `${logger.lines.length} lines`)
    })

    it('finds the endpoint by port where the topic has one', () => {
      const { endpoints, send, held } = setup()
      const first = endpoints.add({ port: 8000 })
      const second = endpoints.add({ port: 8001 })
      send(0, [stored()], { topic: 'kv@10.0.0.1:8001@org/base@v1' })
      assert.deepEqual([held(first), held(second)], [0, 4])
    })

    it('finds the endpoint by rank where several share an address, and says when it cannot', () => {
      const { endpoints, send, held, notices, results } = setup()
      const first = endpoints.add({ port: 8000, rank: 0 })
      const second = endpoints.add({ port: 8001, rank: 1 })
      send(0, [stored()], { rank: 1 })
      assert.deepEqual([held(first), held(second)], [0, 4])
      assert.equal(send(0, [stored()], { rank: 2 }), 'ambiguous_address')
      assert.equal(results('ambiguous_address'), 1)
      assert.match(notices.get('kv-ambiguous:10.0.0.1')!, /put the port into the topic/)
    })

    describe('with ranks behind one port', () => {
      const ranks = (endpoints: ReturnType<typeof setup>['endpoints'], ...of: readonly number[]) =>
        of.map((rank) => endpoints.add({ rank, sharesPort: true }))

      it('gives what comes to the endpoint of its rank, with or without the port in the topic', () => {
        const { endpoints, send, held, cache } = setup()
        const [first, second] = ranks(endpoints, 0, 1, 2)
        assert.equal(send(0, [stored()], { rank: 1 }), 'applied')
        const topic = 'kv@10.0.0.1:8000@base'
        assert.equal(send(0, [stored({ chain: 'b' })], { rank: 0, topic }), 'applied')
        assert.deepEqual([held(first!), held(second!)], [0, 4])
        assert.deepEqual([held(first!, 'b'), held(second!, 'b')], [4, 0])
        assert.deepEqual(
          cache.status().map(({ publishers }) => publishers.map(({ rank }) => rank)),
          [[0], [1], []],
        )
      })

      it('keeps a sequence for each', () => {
        const { endpoints, send, cache } = setup()
        ranks(endpoints, 0, 1)
        send(0, [stored()], { rank: 0 })
        send(0, [stored()], { rank: 1 })
        send(1, [], { rank: 0 })
        send(5, [], { rank: 1 })
        assert.deepEqual(
          cache.status().map(({ coverage }) => coverage),
          ['complete', 'gap'],
        )
      })

      it('drops what is of no rank that is expected, and says so', () => {
        const { endpoints, send, notices, results, cache } = setup()
        const [first, second] = ranks(endpoints, 0, 1)
        assert.equal(send(0, [stored()], { rank: 2 }), 'unknown_rank')
        assert.equal(results('unknown_rank'), 1)
        const text = /10\.0\.0\.1:8000 sends KV events of rank 2, .* set dataParallelSize/
        assert.match(notices.get('kv-rank:10.0.0.1:8000')!, text)
        const dialled = (endpoint: Endpoint, rank: number) =>
          cache.intake.receive({ kind: 'dialled', endpoint }, message('', 0, [stored()], { rank }))
        assert.equal(dialled(second!, 0), 'unknown_rank', 'the socket is of rank 1')
        assert.equal(dialled(second!, 1), 'applied')
        assert.equal(dialled(first!, 0), 'applied')
      })

      it('does not let a client say which of them is asked', () => {
        const { endpoints, send, held } = setup()
        const [first, second] = ranks(endpoints, 0, 1)
        send(0, [stored()], { rank: 1 })
        const headers = { 'x-data-parallel-rank': '0' }
        assert.deepEqual([held(first!, 'a', { headers }), held(second!, 'a', { headers })], [0, 4])
      })
    })

    it('knows an IPv6 address however it is spelled', () => {
      const { endpoints, send, held } = setup()
      const endpoint = endpoints.add({ address: 'fd00::a:1' })
      send(0, [stored()], { topic: 'kv@[fd00:0:0:0:0:0:A:1]:8000@base' })
      assert.equal(held(endpoint), 4)
      send(0, [stored({ chain: 'b' })], { topic: 'kv@fd00:0::a:1@base' })
      assert.equal(held(endpoint, 'b'), 4)
    })

    it('takes any topic on a dialled socket, but not another endpoint’s', () => {
      const { cache, endpoints, held, notices } = setup()
      const endpoint = endpoints.add()
      const source = { kind: 'dialled', endpoint } as const
      assert.equal(cache.intake.receive(source, message('', 0, [stored()])), 'applied')
      assert.equal(held(endpoint), 4)
      assert.equal(
        cache.intake.receive(source, message('kv@10.0.0.2@base', 0, [stored({ chain: 'b' })])),
        'address_mismatch',
      )
      assert.equal(held(endpoint, 'b'), 0)
      assert.match(notices.get('kv-address:10.0.0.1:8000')!, /names another address/)
    })

    it('keeps two publishers of one cache apart, and says that there are two', () => {
      const { endpoints, send, held, notices } = setup(models(['base', 'other']))
      const endpoint = endpoints.add()
      send(0, [stored()])
      send(0, [stored({ chain: 'b' }), CLEARED], { topic: 'kv@10.0.0.1@other' })
      assert.equal(held(endpoint), 4)
      assert.match(notices.get('kv-publishers:10.0.0.1:8000:0')!, /has 2 publishers/)
    })

    it('drops events of a model that is not served at the address, whoever came first', () => {
      for (const order of ['base first', 'other first']) {
        const { endpoints, send, held, notices, results, cache } = setup()
        const endpoint = endpoints.add()
        const other = () => send(0, [stored({ chain: 'b' })], { topic: 'kv@10.0.0.1@other' })
        if (order === 'other first') assert.equal(other(), 'applied')
        send(0, [stored()])
        assert.equal(other(), 'other_model')
        assert.deepEqual([held(endpoint), held(endpoint, 'b')], [4, 0])
        assert.equal(results('other_model'), 1)
        assert.equal(cache.status()[0]!.publishers.length, 1)
        assert.match(notices.get('kv-model:10.0.0.1:8000')!, /the model "other" come from/)
      }
    })

    it('keeps ranks apart that share one address and port', () => {
      const { endpoints, send, held } = setup()
      const [first, second] = [0, 1].map((rank) => endpoints.add({ rank })) as [Endpoint, Endpoint]
      const topic = 'kv@10.0.0.1:8000@base'
      send(0, [stored()], { topic, rank: 1 })
      send(0, [stored({ chain: 'b', blocks: 2 })], { topic, rank: 0 })
      assert.deepEqual([held(first), held(second)], [0, 4])
      assert.deepEqual([held(first, 'b'), held(second, 'b')], [2, 0])
    })

    describe('of two engines', () => {
      /** Two streams, each alone in order. */
      const cases: [string, (i: number) => { sequence: number; timestamp: number }[]][] = [
        [
          'far apart',
          (i) => [
            { sequence: 1000 + i, timestamp: 50 + i },
            { sequence: 5 + i, timestamp: 50.5 + i },
          ],
        ],
        [
          'with the same numbers',
          (i) => [
            { sequence: i, timestamp: 50 + i },
            { sequence: i, timestamp: 50.5 + i },
          ],
        ],
        [
          'whose clocks differ by an hour',
          (i) => [
            { sequence: 70 + i, timestamp: 3650 + i },
            { sequence: i, timestamp: 50 + i },
          ],
        ],
      ]
      for (const [name, messages] of cases) {
        it(`believes neither, says so, and goes on when one has gone: ${name}`, () => {
          const { endpoints, send, held, notices, clock, cache, results } = setup()
          const endpoint = endpoints.add()
          for (let i = 0; i < 8; i++) {
            for (const { sequence, timestamp } of messages(i)) {
              send(sequence, [stored({ chain: String.fromCharCode(97 + i) })], { timestamp })
            }
          }
          assert.match(notices.list()[0]!.text, /two engines send KV events under the topic/)
          for (let i = 0; i < 8; i++) assert.equal(held(endpoint, String.fromCharCode(97 + i)), 0)
          assert.ok(results('shared_topic') >= 6, `${results('shared_topic')} dropped`)
          for (let i = 8; i < 12; i++) {
            clock.ms += 20_000
            const { sequence, timestamp } = messages(i)[0]!
            send(sequence, [stored({ chain: 'z' })], { timestamp })
          }
          assert.equal(held(endpoint, 'z'), 4)
          assert.equal(cache.status()[0]!.coverage, 'late')
        })
      }

      it('is not what a restart, a gap or a second connection looks like', () => {
        const { endpoints, send, results, notices } = setup()
        endpoints.add()
        for (let i = 0; i < 40; i++) send(i, [stored()])
        for (let i = 0; i < 60; i++) send(i, [stored()], { timestamp: 1000 + i })
        for (const sequence of [70, 80, 90]) send(sequence, [], { timestamp: 1000 + sequence })
        for (let i = 91; i < 110; i++) {
          send(i, [], { timestamp: 1000 + i })
          if (i > 94) send(i - 4, [], { timestamp: 1000 + i - 4 })
        }
        assert.equal(results('shared_topic'), 0)
        assert.doesNotMatch(
          notices
            .list()
            .map(({ text }) => text)
            .join(),
          /two engines/,
        )
      })
    })

    it('takes only so many publishers for one endpoint', () => {
      const { endpoints, send, results } = setup()
      endpoints.add()
      for (let i = 0; i < 70; i++) send(0, [], { topic: `kv@10.0.0.1@m${i}` })
      assert.equal(results('too_many_publishers'), 6)
    })

    it('drops frames that are no message', () => {
      const { cache, endpoints, results } = setup()
      endpoints.add()
      const [topic, sequence, payload] = message(TOPIC, 0, [])
      cache.intake.receive(BOUND, [topic, payload])
      cache.intake.receive(BOUND, [topic, sequence.subarray(1), payload])
      cache.intake.receive(BOUND, [topic, Buffer.alloc(8, 0xff), payload])
      cache.intake.receive(BOUND, [Buffer.alloc(5000, 0x61), sequence, payload])
      assert.equal(results('bad_frames'), 4)
    })
  })

  it('forgets an endpoint at once when it goes, and knows nothing of its successor', () => {
    const { cache, endpoints, send, held, notices } = setup()
    const first = endpoints.add()
    send(3, [stored()])
    assert.equal(held(first), 4)
    assert.equal(notices.list().length, 1)
    endpoints.remove(first)
    assert.equal(held(first), 0)
    assert.equal(cache.index.tracks(first), false)
    assert.deepEqual(notices.list(), [])
    assert.equal(send(4, [stored()]), 'unknown_endpoint')
    const second = endpoints.add()
    assert.equal(second.slot, first.slot)
    assert.equal(held(second), 0)
    assert.equal(held(first), 0)
    send(0, [stored()])
    assert.deepEqual([held(first), held(second)], [0, 4])
  })

  describe('events', () => {
    it('skips other attention kinds, spans with holes, other media, remote and owned blocks', () => {
      const { endpoints, send, held, skipped } = setup()
      const endpoint = endpoints.add()
      send(0, [
        stored({ fields: { kv_cache_spec_kind: 'sliding_window', group_idx: 1 } }),
        stored({ fields: { token_ids: [1, 2, 3] } }),
        stored({ fields: { block_size: 0 } }),
        stored({ fields: { medium: 'TAPE' } }),
        stored({ fields: { locality: 'REMOTE' } }),
        stored({ fields: { ownership: 'pool-3' } }),
        stored({ fields: { block_hashes: 'none' } }),
      ])
      assert.equal(held(endpoint), 0)
      const reasons =
        'unsupported_cache_kind non_dense_block_span invalid_block_size unknown_medium malformed_event'
      for (const reason of reasons.split(' ')) assert.equal(skipped(reason), 1, reason)
      assert.equal(skipped('not_local'), 2)
      // The removal of what was skipped is of that group too, and does not touch the other.
      send(1, [
        stored({ fields: { kv_cache_spec_kind: 'full_attention', group_idx: 0 } }),
        removed('a', [0], { group_idx: 1 }),
      ])
      assert.equal(held(endpoint), 4)
    })

    it('reads stores without tokens as another medium of known blocks', () => {
      const { cache, endpoints, send, held, skipped } = setup()
      const endpoint = endpoints.add()
      const offloaded = { token_ids: [], block_size: 0, parent_block_hash: null, medium: 'CPU' }
      send(0, [
        stored(),
        stored({ fields: offloaded }),
        stored({ chain: 'z', fields: offloaded }),
        removed('a', [0, 1, 2, 3]),
      ])
      assert.equal(held(endpoint), 4)
      assert.equal(skipped('unknown_block'), 4)
      cache.index.configure({ expected: {}, mediumWeights: { gpu: 1, cpu: 0.25 } })
      const tokens = { prompts: [Int32Array.from([...tokensOf('a', 0, 4, 16), 1])], exact: true }
      const { weighted } = cache.index.match(request({ targetModel: 'base' }), tokens, [endpoint])
      assert.equal(weighted[0], 1)
      send(1, [removed('a', [0], { medium: 'CPU' })])
      assert.equal(held(endpoint), 0)
    })

    it('keeps adapters, salts and images apart', () => {
      const { endpoints, send, held } = setup()
      const endpoint = endpoints.add()
      const each = (extras: unknown) => ({ extra_keys: [extras, null] })
      send(0, [
        stored({ chain: 'a', blocks: 2, fields: each(['tenant-1']) }),
        stored({
          chain: 'b',
          blocks: 2,
          fields: { lora_name: 'sql', extra_keys: [['sql'], ['sql']] },
        }),
        stored({
          chain: 'c',
          blocks: 2,
          fields: { lora_name: 'sql', extra_keys: [['sql', 's'], ['sql']] },
        }),
        stored({ chain: 'd', blocks: 2, fields: each([['image', 3]]) }),
        stored({ chain: 'e', blocks: 2, fields: each([['image', 3], 's']) }),
      ])
      const sql = { targetModel: 'sql' }
      assert.equal(held(endpoint, 'a'), 0)
      assert.equal(held(endpoint, 'a', { cacheSalt: 'tenant-1' }), 2)
      assert.equal(held(endpoint, 'a', { cacheSalt: 'tenant-2' }), 0)
      assert.equal(held(endpoint, 'b'), 0)
      assert.equal(held(endpoint, 'b', sql), 2)
      assert.equal(held(endpoint, 'b', { targetModel: 'nobody-knows' }), 0)
      assert.equal(held(endpoint, 'c', sql), 0)
      assert.equal(held(endpoint, 'c', { ...sql, cacheSalt: 's' }), 2)
      for (const chain of ['d', 'e']) {
        assert.equal(held(endpoint, chain), 0)
        assert.equal(held(endpoint, chain, { cacheSalt: 's' }), 0)
      }
    })

    it('tells salted blocks of 0.10 apart once it can reproduce the engine’s hashes', () => {
      const { endpoints, send, held } = setup()
      const endpoint = endpoints.add()
      const hasher = createEngineBlockHasher('sha256_cbor_64bit', '42')
      const plain = (chain: string, extras: readonly unknown[] | null) => [
        'BlockStored',
        [hasher.next(hasher.root, tokensOf(chain, 0, 1, 16), extras).published],
        null,
        tokensOf(chain, 0, 1, 16),
        16,
        null,
      ]
      send(0, [plain('a', null), plain('b', ['tenant']), plain('c', null)])
      assert.deepEqual([held(endpoint), held(endpoint, 'b'), held(endpoint, 'c')], [1, 0, 1])
    })

    for (const algorithm of ['sha256_cbor_64bit', 'sha256', 'xxhash_cbor'] as const) {
      it(`finds salted blocks of events without salts by their own ${algorithm} hash`, () => {
        const { endpoints, send, held, cache } = setup()
        const endpoint = endpoints.add()
        const chainOf = (chain: string, salt: string | null) => {
          let parent = createEngineBlockHasher(algorithm, '42').root
          const hasher = createEngineBlockHasher(algorithm, '42')
          return [0, 1, 2].map((at) => {
            const extras = at === 0 && salt !== null ? [salt] : null
            return (parent = hasher.next(parent, tokensOf(chain, at, 1, 16), extras)).published
          })
        }
        const event = (chain: string, salt: string | null, from: number, to: number) => [
          'BlockStored',
          chainOf(chain, salt).slice(from, to),
          from === 0 ? null : chainOf(chain, salt)[from - 1],
          tokensOf(chain, from, to - from, 16),
          ...[16, null],
        ]
        send(0, [event('a', null, 0, 3), event('b', 'red', 0, 2), event('b', 'red', 2, 3)])
        send(1, [event('b', 'blue', 0, 1)])
        const found = (chain: string, cacheSalt?: string) => held(endpoint, chain, { cacheSalt })
        assert.deepEqual([found('a'), found('a', 'red'), found('a', 'blue')], [3, 0, 0])
        assert.deepEqual([found('b'), found('b', 'red'), found('b', 'blue')], [0, 3, 1])
        // Once a request has named the salt, its next blocks are recognized too.
        found('c', 'red')
        send(2, [event('c', 'red', 0, 3)])
        assert.equal(found('c', 'red'), 3)
        const [publisher] = cache.status()[0]!.publishers
        assert.equal(publisher!.hashing, `aligned: ${algorithm} seed 42 block 16`)
        assert.equal(publisher!.hashes.recognized, algorithm === 'sha256_cbor_64bit' ? 7 : 6)
        send(3, [['BlockRemoved', chainOf('b', 'red')]])
        assert.deepEqual([found('b', 'red'), found('b', 'blue')], [0, 1])
      })
    }

    it('places blocks after unknown ones where the engine’s hashing is known', () => {
      const { endpoints, send, held, metrics, skipped } = setup()
      const endpoint = endpoints.add()
      const hasher = createEngineBlockHasher('sha256_cbor', 'vllm-none-hash')
      const hashes: bigint[] = []
      let parent = hasher.root
      for (let at = 0; at < 6; at++) {
        parent = hasher.next(parent, tokensOf('a', at, 1, 16), null)
        hashes.push(parent.published)
      }
      const first = hasher.next(hasher.root, tokensOf('k', 0, 1, 16), null).published
      const event = (from: number, to: number) =>
        stored({
          ...{ from, blocks: to - from },
          fields: { block_hashes: hashes.slice(from, to), parent_block_hash: hashes[from - 1] },
        })
      // Joined late: blocks 0 to 2 were stored before.
      send(40, [event(3, 5)])
      assert.equal(skipped('unknown_parent'), 1)
      send(41, [stored({ chain: 'k', blocks: 1, fields: { block_hashes: [first] } }), event(3, 5)])
      assert.equal(held(endpoint), 5)
      assert.equal(held(endpoint, 'a', { cacheSalt: 'other' }), 0)
      assert.equal(metrics.sum('epp_kv_blocks_anchored_total'), 2)
      send(42, [event(5, 6)])
      assert.equal(held(endpoint), 6)
      send(43, [{ type: 'BlockRemoved', block_hashes: [hashes[4], hashes[5]], medium: 'GPU' }])
      assert.equal(held(endpoint), 4)
      send(44, [{ type: 'BlockRemoved', block_hashes: [hashes[3]], medium: 'GPU' }])
      assert.equal(held(endpoint), 0)
    })

    it('learns a new hashing when an engine comes back with another seed', () => {
      const { endpoints, send, held, cache } = setup()
      const endpoint = endpoints.add()
      const root = (seed: string, chain: string) => {
        const hasher = createEngineBlockHasher('sha256_cbor_64bit', seed)
        const tokens = tokensOf(chain, 0, 1, 16)
        const hash = hasher.next(hasher.root, tokens, null).published
        return ['BlockStored', [hash], null, tokens, 16, null]
      }
      const hashing = () => cache.status()[0]!.publishers[0]!.hashing
      send(0, [root('42', 'a')])
      send(1, [root('42', 'b')])
      assert.equal(hashing(), 'aligned: sha256_cbor_64bit seed 42 block 16')
      send(0, [root('0', 'a')], { timestamp: 99 })
      assert.equal(hashing(), 'aligned: sha256_cbor_64bit seed 0 block 16')
      assert.deepEqual(cache.hashing(), [
        'aligned: sha256_cbor_64bit seed 0 block 16 (1: 10.0.0.1:8000)',
      ])
      cache.index.configure({ expected: { blockTokens: 64, hashSeed: '7' }, mediumWeights: {} })
      assert.equal(
        hashing(),
        `aligned: sha256_cbor_64bit seed 0 block 16; configured: seed 7 block 64`,
      )
      assert.equal(held(endpoint), 1)
      // A seed that nobody knows: what it stores is found by its tokens.
      send(0, [root('secret', 'a')], { timestamp: 199 })
      assert.equal(held(endpoint), 1)
    })

    it('never asks for what is a guess behind an image', () => {
      const { cache, endpoints, send } = setup()
      const endpoint = endpoints.add()
      send(0, [stored({ blocks: 8 })])
      const prompts = [Int32Array.from([...tokensOf('a', 0, 8, 16), 1])]
      const asked = request({ model: 'base', targetModel: 'base' })
      const matched = (exactUpTo?: number) => {
        const guess = {
          exact: false,
          reason: 'an image',
          ...(exactUpTo !== undefined && { exactUpTo }),
        }
        return cache.index.match(asked, { prompts: [prompts[0]!.slice()], ...guess }, [endpoint])
      }
      assert.equal(matched(47).blocks[0], 2)
      assert.equal(matched(48).blocks[0], 3)
      assert.equal(matched(48).usableBlocks[0], 8)
    })

    it('starts a chain where the parent is 0 and nobody knows a block 0', () => {
      const { endpoints, send, held } = setup()
      const endpoint = endpoints.add()
      send(0, [stored({ fields: { parent_block_hash: 0 } })])
      assert.equal(held(endpoint), 4)
    })

    it('keeps what a hash was first taken for', () => {
      const { endpoints, send, held, skipped } = setup()
      const endpoint = endpoints.add()
      const claimed = { block_hashes: [hashOf('a', 0)] }
      send(0, [stored({ blocks: 1 }), stored({ chain: 'b', blocks: 1, fields: claimed })])
      assert.equal(skipped('hash_conflict'), 1)
      assert.deepEqual([held(endpoint), held(endpoint, 'b')], [1, 0])
      send(1, [removed('a', [0])])
      assert.equal(held(endpoint), 0)
    })
  })

  describe('what is configured', () => {
    it('is compared with the events, before and after', () => {
      const { cache, endpoints, send, notices, logger, metrics, held } = setup()
      const mismatches = () =>
        [...metrics.samples.get('epp_kv_hashing_mismatches')!()].map(({ value }) => value)
      const endpoint = endpoints.add()
      const expected = { expected: { blockTokens: 64, hashSeed: '7' }, mediumWeights: {} }
      cache.index.configure(expected)
      const hasher = createEngineBlockHasher('sha256_cbor', '42')
      const hash = hasher.next(hasher.root, tokensOf('a', 0, 1, 16), null).published
      send(0, [stored({ blocks: 1, fields: { block_hashes: [hash] } })])
      assert.match(
        notices.get('kv-block-size:10.0.0.1:8000')!,
        /^configured block size 64, but .* say 16/,
      )
      assert.match(
        notices.get('kv-hash-seed:10.0.0.1:8000')!,
        /^configured hashSeed "7", but 10\.0\.0\.1:8000 hashes by sha256_cbor with seed "42"/,
      )
      assert.equal(logger.lines.filter(({ level }) => level === 'warn').length, 2)
      assert.deepEqual(mismatches(), [1, 1])
      assert.equal(held(endpoint), 1)
      cache.index.configure({ expected: { blockTokens: 16, hashSeed: '42' }, mediumWeights: {} })
      assert.deepEqual(notices.list(), [])
      assert.deepEqual(mismatches(), [0, 0])
      cache.index.configure(expected)
      assert.equal(notices.list().length, 2)
    })

    it('is reported as not verifiable when no known hashing gives the engine’s hashes', () => {
      const { cache, endpoints, send, notices } = setup()
      endpoints.add()
      cache.index.configure({ expected: { hashSeed: '42' }, mediumWeights: {} })
      for (let i = 0; i < 20; i++) {
        send(i, [stored({ chain: String.fromCharCode(97 + i), blocks: 1 })])
      }
      assert.match(notices.get('kv-hash-seed:10.0.0.1:8000')!, /not reproduced by .* hashSeed "42"/)
    })
  })

  it('stays within its memory, says when it is full, and answers still', async () => {
    const kv = createKvCache(models(['base']), 3 << 20)
    const endpoint = kv.endpoints.add()
    for (let i = 0; i < 3000; i++) {
      const fields = { block_hashes: Array.from({ length: 64 }, (_, k) => BigInt(i * 64 + k + 1)) }
      const tokens = Array.from({ length: 64 }, (_, k) => i * 64 + k)
      const event = stored({ blocks: 64, blockTokens: 1, fields: { ...fields, token_ids: tokens } })
      kv.cache.intake.receive(BOUND, message(TOPIC, i, [event]))
    }
    const bytes = [...kv.metrics.samples.get('epp_kv_index_bytes')!()][0]!.value
    assert.ok(bytes <= 3 << 20)
    assert.ok(kv.metrics.sum('epp_kv_blocks_evicted_total') > 0)
    assert.ok(kv.metrics.sum('epp_kv_events_skipped_total{index_full}') < 3000 * 64 * 0.001)
    assert.match(kv.notices.get('kv-index-full')!, /reached its 3 MiB/)
    const tokens = {
      prompts: [Int32Array.from({ length: 65 }, (_, k) => 2999 * 64 + k)],
      exact: true,
    }
    const asked = request({ targetModel: 'base' })
    assert.equal(kv.cache.index.match(asked, tokens, [endpoint]).blocks[0], 64)
    await kv.cache.close()
  })
})
