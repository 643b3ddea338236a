import assert from 'node:assert/strict'
import { suggestion } from '../../src/config/near.ts'
import { readSimCommandLine } from '../../src/sim/command-line.ts'
import { simEngineOptions } from '../../src/sim/options.ts'
import { documentCommand } from '../discovery/kubernetes/manifests/documents.ts'

const HOST = 'epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local'
const ENVIRONMENT = { POD_IP: '127.0.0.3', PYTHONHASHSEED: '42' }

function read(argv: readonly string[], environment: Record<string, string> = ENVIRONMENT) {
  const line = readSimCommandLine(argv, environment, suggestion)
  const { logFormat, ...flags } = line.flags
  return { ...line, logFormat, options: simEngineOptions(flags, line.environment) }
}

function problemsOf(argv: readonly string[]): string[] {
  try {
    read(argv)
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'CONFIG_INVALID')
    return (error as Error).message.split('\n')
  }
  return []
}

describe('readSimCommandLine', () => {
  it("takes the documents' command string word for word", () => {
    const { options, ignored } = read([
      ...['--resolve', `${HOST}=127.0.0.1`, '--tokenizers-dir', '/tokenizers'],
      ...['--', 'sh', '-c', documentCommand('ack-precise-mode')],
    ])
    assert.deepEqual(options, {
      host: '127.0.0.3',
      port: 8000,
      servedModelName: 'Qwen3-32B',
      blockTokens: 64,
      kvBlocks: 4802,
      dataParallelSize: 1,
      maxRunning: 256,
      maxModelTokens: 8192,
      hashAlgorithm: 'sha256_cbor_64bit',
      hashSeed: '42',
      kvEvents: {
        endpoint: 'tcp://127.0.0.1:5557',
        replayEndpoint: undefined,
        topic: 'kv@127.0.0.3@Qwen3-32B',
      },
      loraModules: [],
      tokenizersDir: '/tokenizers',
      version: '0.10.0',
      prefillTokensPerSecond: 15_928,
      decodeMs: 13,
    })
    assert.deepEqual(ignored, [
      '--trust-remote-code',
      '--gpu-memory-utilization',
      '--enforce-eager',
    ])
  })

  it("leaves the variable in the article's single quotes as it is, as a shell would", () => {
    const { options } = read(['--', 'sh', '-c', documentCommand('ack-article')])
    assert.equal(options.kvEvents!.topic, `kv@\${POD_IP}@Qwen3-32B`)
    assert.equal(options.kvEvents!.endpoint, `tcp://${HOST}:5557`)
  })

  for (const argv of [
    ['--port', '9', 'vllm', 'serve', '/models/m', '--block-size', '32'],
    ['--port', '9', '--', 'vllm', 'serve', '/models/m', '--block-size', '32'],
    ['--port', '9', 'serve', '/models/m', '--block_size=32'],
    ['--port', '9', '--block-size=32', '--model', '/models/m'],
    ['/models/m', '--port', '9', '--block-size', '32'],
    [
      '--',
      'python3',
      '-m',
      'vllm.entrypoints.openai.api_server',
      '--model',
      '/models/m',
      '--port',
      '9',
      '--block-size',
      '32',
    ],
    [
      '--block-size',
      '16',
      '--',
      'bash',
      '-c',
      'SIZE=32; exec vllm serve /models/m --port 9 --block-size $SIZE',
    ],
  ]) {
    it(`reads ${argv.join(' ')}`, () => {
      const { port, blockTokens, servedModelName } = read(argv).options
      assert.deepEqual([port, blockTokens, servedModelName], [9, 32, '/models/m'])
    })
  }

  it("takes vLLM's --seed for what it is there, and ours for the hashes' seed", () => {
    const own = read(['--seed', '7', '--', 'vllm', 'serve', 'm', '--seed', '1'])
    assert.equal(own.options.hashSeed, '7')
    assert.deepEqual(own.ignored, ['--seed'])
    const set = read(['--', 'sh', '-c', 'PYTHONHASHSEED=9 vllm serve m --seed 1'])
    assert.equal(set.options.hashSeed, '9')
  })

  it("knows vLLM's own names, counts and parts of JSON", () => {
    const { options, ignored, logFormat } = read([
      ...[
        '--log-format',
        'json',
        '--resolve',
        'a=127.0.0.7',
        '--resolve',
        'b=::1',
        '--',
        'vllm',
        'serve',
        'm',
      ],
      ...[
        '--num-gpu-blocks-override',
        '600',
        '--max-model-len',
        '8k',
        '--served-model-name',
        'x',
        'y',
      ],
      ...['--kv-events-config.enable_kv_cache_events', 'true', '--kv-events-config.topic', 't'],
      ...['--kv-events-config.endpoint=tcp://a:1', '--kv-events-config.replay_endpoint=tcp://b:2'],
      ...['-tp', '2', '--lora-modules', 'l=/l', 'k=/k'],
    ])
    assert.equal(logFormat, 'json')
    assert.equal(options.kvBlocks, 600)
    assert.equal(options.maxModelTokens, 8000)
    assert.equal(options.servedModelName, 'x')
    assert.deepEqual(options.kvEvents, {
      endpoint: 'tcp://127.0.0.7:1',
      replayEndpoint: 'tcp://[::1]:2',
      topic: 't',
    })
    assert.deepEqual(
      options.loraModules.map(({ name }) => name),
      ['l', 'k'],
    )
    assert.deepEqual(ignored, ['--served-model-name (all but the first)', '-tp'])
  })

  for (const [flags, environment, host] of [
    [[], { POD_IP: '127.0.0.4' }, '127.0.0.4'],
    [[], { POD_IP: '10.0.0.4' }, '127.0.0.1'],
    [[], {}, '127.0.0.1'],
    [['--host', '0.0.0.0'], { POD_IP: '127.0.0.4' }, '127.0.0.4'],
    [['--host', '::'], {}, '127.0.0.1'],
    [['--host', '127.0.0.5'], { POD_IP: '127.0.0.4' }, '127.0.0.5'],
  ] as const) {
    it(`binds ${host} with ${JSON.stringify(environment)} ${flags.join(' ')}`, () => {
      assert.equal(read(['serve', 'm', ...flags], environment).options.host, host)
    })
  }

  for (const [argv, problems] of [
    [['--block-sise', '64'], ['unknown flag --block-sise; did you mean "block-size"?']],
    [
      ['serve', 'm', '--no-such-thing', '--port'],
      ['unknown flag --no-such-thing', '--port needs a value'],
    ],
    [['serve', 'm', 'n'], ['"n" belongs to no flag; remove it']],
    [
      ['--', 'python3', 'x.py'],
      ['"python3 x.py" starts no vLLM; give vllm serve MODEL and its flags'],
    ],
    [
      ['--', 'sh', '-c', "vllm serve 'm"],
      [
        'the shell command cannot be read at character 11: a single quote is not closed; add the second one',
      ],
    ],
    [
      ['--', 'sh', '-c', 'vllm serve m --port $(port)'],
      ['"$(port)" can only be known by running a command, which is not done here; write its value'],
    ],
    [
      ['--resolve', 'here', '--kv-events-config', '{"enable_kv_cache_events":true}'],
      ['--resolve must be HOST=ADDRESS, got "here"'],
    ],
  ] as const) {
    it(`refuses ${argv.join(' ')}`, () => assert.deepEqual(problemsOf(argv), problems))
  }
})
