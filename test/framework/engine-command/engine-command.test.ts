import assert from 'node:assert/strict'
import { findEngine } from '../../../src/framework/engine-command/engine-command.ts'
import { kvEventsFlag } from '../../../src/framework/engine-command/kv-events-flag.ts'
import {
  flagValue,
  parseVllmArgs,
  vllmCount,
} from '../../../src/framework/engine-command/vllm-args.ts'
import { plainWord } from '../../../src/framework/engine-command/word.ts'

const search = (...argv: readonly string[]) =>
  findEngine(argv.map(plainWord), (name) => ({ value: name === 'M' ? 'model' : '', known: true }))
const argsOf = (...argv: readonly string[]) =>
  search(...argv).engine?.args.map(({ value }) => value)
const parse = (...words: readonly string[]) => parseVllmArgs(words.map(plainWord))

describe('findEngine', () => {
  for (const argv of [
    ['vllm', 'serve', 'model', '-x'],
    ['/usr/local/bin/vllm', 'serve', 'model', '-x'],
    ['python3', '-m', 'vllm.entrypoints.openai.api_server', 'model', '-x'],
    ['python3.12', '-u', '-m', 'vllm.entrypoints.cli.main', 'serve', 'model', '-x'],
    ['env', 'A=b', 'nice', '-n', '5', 'vllm', 'serve', 'model', '-x'],
    ['tini', '--', 'sh', '-c', 'vllm serve model -x'],
    ['bash', '-euo', 'pipefail', '-c', 'cd /x && A=b exec vllm serve "$M" -x'],
    ['/bin/bash', '-lc', 'if true; then\n  vllm serve model \\\n    -x 2>&1 | tee log\nfi'],
    ['sh', '-c', `sleep 1; exec sh -c "vllm serve $M '-x'"`],
  ]) {
    it(`finds vLLM in ${argv.join(' ')}`, () => assert.deepEqual(argsOf(...argv), ['model', '-x']))
  }

  for (const argv of [
    ['vllm', 'bench', 'serve'],
    ['python3', 'server.py'],
    ['sh', 'start.sh'],
    ['sh', '-c', 'echo vllm serve'],
    [],
  ]) {
    it(`finds none in ${argv.join(' ') || 'nothing'}`, () => {
      assert.deepEqual(search(...argv), {})
    })
  }

  it('knows the variables that the command line sets, and whether a shell was there', () => {
    const { engine } = search('sh', '-c', 'export A=1\nB="2 3" vllm serve')
    assert.deepEqual(
      [...engine!.environment].map(([name, { value }]) => [name, value]),
      [
        ['A', '1'],
        ['B', '2 3'],
      ],
    )
    assert.equal(engine!.shell, true)
    assert.equal(search('vllm', 'serve').engine!.shell, false)
  })

  it('keeps the place of a word through two shells', () => {
    const text = `sh -c "vllm serve 'a b'"`
    const [word] = search('sh', '-c', text).engine!.args
    assert.equal(word!.value, 'a b')
    assert.equal(word!.source, 2)
    assert.equal(word!.at.map((at) => text[at]).join(''), 'a b')
    assert.equal(text.slice(word!.start, word!.end), "'a b'")
  })
})

describe('parseVllmArgs', () => {
  it('tells flags, values and the model apart', () => {
    const args = parse(
      ...[
        'm',
        '--served-model-name',
        'a',
        'b',
        '--trust-remote-code',
        '--port=1',
        '--max_model_len',
      ],
      ...['8k', '-tp', '2', '--no-enable-prefix-caching', '--gpu-memory-utilization', '.9', '-O3'],
      ...['--not-there', 'x', '--seed', '-1', '--no-such'],
    )
    assert.equal(args.model!.value, 'm')
    assert.deepEqual(args.rest, [])
    assert.deepEqual(
      args.flags.map(({ name, on, known, values }) => [
        name,
        on,
        known,
        values.map(({ value }) => value).join(' '),
      ]),
      [
        ['served-model-name', true, true, 'a b'],
        ['trust-remote-code', true, true, ''],
        ['port', true, true, '1'],
        ['max-model-len', true, true, '8k'],
        ['tensor-parallel-size', true, true, '2'],
        ['enable-prefix-caching', false, true, ''],
        ['gpu-memory-utilization', true, true, '.9'],
        ['compilation-config', true, true, '3'],
        ['not-there', true, false, 'x'],
        ['seed', true, true, '-1'],
        ['no-such', true, false, ''],
      ].map((row) =>
        row[0] === 'compilation-config' ? ['optimization-level', ...row.slice(1)] : row,
      ),
    )
    assert.equal(flagValue(parse('--port', '1', '--port', '2'), 'port')!.value, '2')
  })

  for (const [text, count] of [
    ['8192', 8192],
    ['8k', 8000],
    ['8K', 8192],
    ['25.6k', 25_600],
    ['1m', 1_000_000],
    ['1.5K', undefined],
    ['0x10', undefined],
    ['', undefined],
  ] as const) {
    it(`reads the count ${JSON.stringify(text)}`, () => assert.equal(vllmCount(text), count))
  }
})

describe('kvEventsFlag', () => {
  it('puts JSON and parts together', () => {
    const json = '{"publisher" : "zmq","topic":"kv@a@b"}'
    const { fields, fault } = kvEventsFlag(
      parse(
        '--kv-events-config',
        json,
        '--kv-events-config.endpoint',
        'tcp://*:1',
        '--kv-events-config.hwm=5',
      ),
    )!
    assert.equal(fault, undefined)
    assert.deepEqual(
      [...fields].map(([key, { value }]) => [key, value]),
      [
        ['publisher', 'zmq'],
        ['topic', 'kv@a@b'],
        ['endpoint', 'tcp://*:1'],
        ['hwm', 5],
      ],
    )
    const { index } = fields.get('topic')!
    assert.equal(json.slice(index, index + 6), 'kv@a@b')
  })

  it('says what cannot be read', () => {
    assert.equal(kvEventsFlag(parse('--port', '1')), undefined)
    assert.equal(kvEventsFlag(parse('--kv-events-config'))!.fault, 'has no value')
    assert.equal(
      kvEventsFlag(parse('--kv-events-config', '[]'))!.fault,
      'must be a JSON object, got []',
    )
    assert.match(kvEventsFlag(parse('--kv-events-config', '{'))!.fault!, /^must be JSON: /)
  })
})
