import assert from 'node:assert/strict'
import { SIM_ENGINE_FLAGS, simEngineOptions } from '../../src/sim/options.ts'

/** The first line of what is wrong with flags. */
function problemsOf(flags: Readonly<Record<string, string>>): string[] {
  try {
    simEngineOptions(flags)
  } catch (error) {
    assert.equal((error as { code?: string }).code, 'CONFIG_INVALID')
    return (error as Error).message.split('\n')
  }
  return []
}

describe('simEngineOptions', () => {
  it('has the defaults of the newer engine', () => {
    assert.deepEqual(simEngineOptions({}), {
      host: '127.0.0.1',
      port: 8000,
      servedModelName: 'Qwen3-32B',
      blockTokens: 16,
      kvBlocks: 19_208,
      dataParallelSize: 1,
      maxRunning: 256,
      maxModelTokens: 40_960,
      hashAlgorithm: 'sha256',
      hashSeed: 'vllm-none-hash',
      kvEvents: undefined,
      loraModules: [],
      tokenizersDir: undefined,
      version: '0.32.0',
      prefillTokensPerSecond: 15_928,
      decodeMs: 13,
    })
  })

  it('reads the flags of the ACK documents', () => {
    const options = simEngineOptions(
      {
        host: '127.0.0.3',
        blockSize: '64',
        engineVersion: '0.10.0',
        kvEventsConfig:
          '{"enable_kv_cache_events":true,"publisher":"zmq","topic":"kv@127.0.0.3@Qwen3-32B","endpoint":"tcp://127.0.0.1:5557"}',
      },
      { PYTHONHASHSEED: '42' },
    )
    assert.equal(options.hashAlgorithm, 'sha256_cbor_64bit')
    assert.equal(options.hashSeed, '42')
    assert.deepEqual(options.kvEvents, {
      endpoint: 'tcp://127.0.0.1:5557',
      replayEndpoint: undefined,
      topic: 'kv@127.0.0.3@Qwen3-32B',
    })
  })

  it('lets the flag win over PYTHONHASHSEED', () => {
    assert.equal(simEngineOptions({ seed: '7' }, { PYTHONHASHSEED: '42' }).hashSeed, '7')
  })

  it('takes zmq as publisher in newer releases only', () => {
    const kvEventsConfig = '{"enable_kv_cache_events":true}'
    assert.equal(simEngineOptions({ kvEventsConfig, engineVersion: '0.10.0' }).kvEvents, undefined)
    assert.deepEqual(simEngineOptions({ kvEventsConfig }).kvEvents, {
      endpoint: 'tcp://*:5557',
      replayEndpoint: undefined,
      topic: '',
    })
  })

  it('reads adapters from words or a list', () => {
    const wanted = [
      { name: 'a', path: '/x' },
      { name: 'b', path: '/y=z' },
    ]
    assert.deepEqual(simEngineOptions({ loraModules: 'a=/x b=/y=z' }).loraModules, wanted)
    assert.deepEqual(simEngineOptions({ loraModules: ['a=/x', 'b=/y=z'] }).loraModules, wanted)
  })

  it('shortens the model to the cache when told no length', () => {
    assert.equal(simEngineOptions({ numGpuBlocks: '11' }).maxModelTokens, 160)
  })

  for (const [flag, value, problem] of [
    ['port', '99999', '--port must be a whole number from 0 to 65535, got "99999"'],
    ['port', '1e3', '--port must be a whole number from 0 to 65535, got "1e3"'],
    ['blockSize', '0', '--block-size must be a whole number from 1 to 65536, got "0"'],
    ['decodeMs', 'fast', '--decode-ms must be a number above 0, got "fast"'],
    ['host', '0.0.0.0', '--host must be a loopback address such as 127.0.0.2, got "0.0.0.0"'],
    ['engineVersion', '1.0', '--engine-version must be one of 0.10.0, 0.32.0, got "1.0"'],
    ['loraModules', 'sql', '--lora-modules must be name=path, got "sql"'],
    ['kvEventsConfig', '[]', '--kv-events-config must be a JSON object, got []'],
    [
      'kvEventsConfig',
      '{"publisher":"nats"}',
      '--kv-events-config: publisher must be "zmq" or "null", got "nats"',
    ],
    [
      'maxModelLen',
      '400000',
      '--max-model-len 400000 needs more KV cache than the 307312 tokens of --num-gpu-blocks 19208; lower it or raise the blocks',
    ],
  ] as const) {
    it(`refuses --${flag} ${value}`, () => {
      assert.deepEqual(problemsOf({ [flag]: value }), [problem])
    })
  }

  it('names all wrong flags at once', () => {
    assert.equal(problemsOf({ port: 'x', blockSize: 'y', decodeMs: '-1' }).length, 3)
  })

  it('lists each flag that it reads', () => {
    const names = SIM_ENGINE_FLAGS.map(({ flag }) => flag.split(' ')[0])
    assert.equal(new Set(names).size, 17)
  })
})
