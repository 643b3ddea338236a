import assert from 'node:assert/strict'
import { canonicalAddress, parseTopic } from '../../../src/kvcache/events/topic.ts'

describe('parseTopic', () => {
  const right = [
    ['kv@10.0.0.1@m', '10.0.0.1', undefined, 'm'],
    ['kv@10.0.0.1:8000@Qwen/Qwen3-32B', '10.0.0.1', 8000, 'Qwen/Qwen3-32B'],
    ['kv@10.0.0.1@org/m@rev1', '10.0.0.1', undefined, 'org/m@rev1'],
    ['kv@10.0.0.1@', '10.0.0.1', undefined, ''],
    ['kv@[fd00::1]:8000@m', 'fd00::1', 8000, 'm'],
    ['kv@[FD00:0::1]@m', 'fd00::1', undefined, 'm'],
    ['kv@fd00::1@m', 'fd00::1', undefined, 'm'],
    ['kv@::ffff:10.0.0.1@m', '10.0.0.1', undefined, 'm'],
  ] as const
  for (const [topic, address, port, model] of right) {
    it(`reads ${topic}`, () => assert.deepEqual(parseTopic(topic), { address, port, model }))
  }

  const wrong = [
    '',
    'kv@',
    'kv@10.0.0.1',
    'kv@pod-1@m',
    'kv@10.0.0.1:@m',
    'kv@10.0.0.1:0@m',
    'kv@10.0.0.1:65536@m',
    'kv@10.0.0.256@m',
    'kv@[10.0.0.1]:80@m',
    'kv@[fd00::1@m',
    'KV@10.0.0.1@m',
    'kv-events',
  ]
  for (const topic of wrong) {
    it(`does not read "${topic}"`, () => assert.equal(parseTopic(topic), undefined))
  }
})

describe('canonicalAddress', () => {
  it('keeps what is no plain IP address', () => {
    assert.equal(canonicalAddress('fe80::1%eth0'), 'fe80::1%eth0')
    assert.equal(canonicalAddress('Host'), 'host')
  })
})
