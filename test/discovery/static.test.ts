import assert from 'node:assert/strict'
import { parseEndpointFlags } from '../../src/discovery/static.ts'

const brief = (...flags: string[]) =>
  parseEndpointFlags(flags).map(
    ({ name, address, port, rank }) => `${name} ${address} ${port} ${rank}`,
  )

describe('parseEndpointFlags', () => {
  it('takes an address and a port, with or without http and a name', () => {
    assert.deepEqual(parseEndpointFlags(['10.0.0.5:8000']), [
      {
        namespace: 'default',
        name: '10.0.0.5:8000',
        address: '10.0.0.5',
        port: 8000,
        rank: 0,
        labels: {},
      },
    ])
    assert.deepEqual(
      brief('http://10.0.0.6:8001/', 'vllm-0=10.0.0.7:8000', ' b=HTTP://10.0.0.8:9 '),
      ['10.0.0.6:8001 10.0.0.6 8001 0', 'vllm-0 10.0.0.7 8000 0', 'b 10.0.0.8 9 0'],
    )
    assert.deepEqual(parseEndpointFlags([]), [])
  })

  it('takes IPv6 in brackets, in one spelling', () => {
    assert.deepEqual(brief('[::1]:8000', 'http://[FD00:0::5]:8001', 'm=[2001:db8::1]:1'), [
      '[::1]:8000 ::1 8000 0',
      '[fd00::5]:8001 fd00::5 8001 0',
      'm 2001:db8::1 1 0',
    ])
  })

  it('counts ports under one name and address as ranks', () => {
    assert.deepEqual(brief('a=10.0.0.5:8000', 'a=10.0.0.5:8001', '10.0.0.5:8002'), [
      'a 10.0.0.5 8000 0',
      'a 10.0.0.5 8001 1',
      '10.0.0.5:8002 10.0.0.5 8002 0',
    ])
  })

  const wrong: readonly (readonly [string, string])[] = [
    ['', 'the address is empty; give an IP address such as 10.0.0.5'],
    ['vllm.example.com:8000', '"vllm.example.com" is a host name; give its IP address'],
    ['localhost:8000', '"localhost" is a host name; give its IP address'],
    ['10.0.0:8000', '"10.0.0" is no IP address; give one such as 10.0.0.5 or [fd00::5]'],
    ['[10.0.0.5]:8000', '"[10.0.0.5]" is no IP address; give one such as 10.0.0.5 or [fd00::5]'],
    ['10.0.0.5', 'the port is missing; write 10.0.0.5:8000'],
    ['[::1]', 'the port is missing; write [::1]:8000'],
    ['10.0.0.5:', 'the port "" must be from 1 to 65535'],
    ['10.0.0.5:0', 'the port "0" must be from 1 to 65535'],
    ['10.0.0.5:65536', 'the port "65536" must be from 1 to 65535'],
    ['10.0.0.5:8e3', 'the port "8e3" must be from 1 to 65535'],
    ['https://10.0.0.5:8000', 'the scheme "https" is not supported; use http'],
    ['http://10.0.0.5:8000/v1', '"/v1" after the port; give only address and port'],
    ['a b=10.0.0.5:8000', 'the name "a b" must be letters, digits, ".", "_", ":" and "-"'],
    ['=10.0.0.5:8000', 'the name "" must be letters, digits, ".", "_", ":" and "-"'],
  ]
  for (const [flag, fault] of wrong) {
    it(`refuses "${flag}"`, () => {
      assert.throws(() => parseEndpointFlags([flag]), {
        code: 'CONFIG_INVALID',
        message: `--endpoint "${flag}": ${fault}`,
      })
    })
  }

  it('names all wrong flags at once, and an endpoint that is given twice', () => {
    const flags = ['10.0.0.5:1', 'x=10.0.0.5:1', 'host:1', '[FD00::1]:1', '[fd00:0::1]:1']
    assert.throws(() => parseEndpointFlags(flags), {
      message:
        '--endpoint "x=10.0.0.5:1": 10.0.0.5:1 is given twice; remove one\n' +
        '--endpoint "host:1": "host" is a host name; give its IP address\n' +
        '--endpoint "[fd00:0::1]:1": [fd00::1]:1 is given twice; remove one',
    })
  })
})
