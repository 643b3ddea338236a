import assert from 'node:assert/strict'
import { readDocument } from '../../src/config/document.ts'
import { readEndpointsFile } from '../../src/discovery/endpoints-file.ts'

const read = (...lines: string[]) => readEndpointsFile(lines.join('\n'), 'e.yaml', readDocument)
const errors = (...lines: string[]) => {
  const { specs, errors } = read(...lines)
  assert.deepEqual(specs, [], 'nothing is taken from a file with an error')
  return errors.map((line) => line.slice('e.yaml:'.length))
}

describe('readEndpointsFile', () => {
  it("reads llm-d's shape", () => {
    const { specs, errors, warnings } = read(
      'endpoints:',
      '  - name: vllm-0',
      '    namespace: prod',
      '    address: 10.0.0.5',
      '    port: "8000"',
      '    labels: { llm-d.ai/role: decode }',
      '    metricsPort: 9100',
      '  - { name: vllm-1, address: "fd00::6", port: 8000, uid: u-1 }',
    )
    assert.deepEqual([errors, warnings], [[], []])
    assert.deepEqual(specs, [
      {
        namespace: 'prod',
        name: 'vllm-0',
        address: '10.0.0.5',
        port: 8000,
        rank: 0,
        labels: { 'llm-d.ai/role': 'decode' },
        metricsPort: 9100,
      },
      {
        namespace: 'default',
        name: 'vllm-1',
        address: 'fd00::6',
        port: 8000,
        rank: 0,
        labels: {},
        uid: 'u-1',
      },
    ])
  })

  it('reads JSON and an empty list', () => {
    const json = '{"endpoints":[{"name":"a","address":"10.0.0.5","port":8000}]}'
    assert.equal(read(json).specs.length, 1)
    assert.deepEqual(read('endpoints: []'), { specs: [], errors: [], warnings: [] })
  })

  it('counts several ports of one name and address as ranks, in the order of the file', () => {
    const { specs } = read(
      'endpoints:',
      '  - { name: a, address: 10.0.0.5, ports: [8000, "8001"] }',
      '  - { name: b, address: 10.0.0.6, port: 8000 }',
      '  - { name: a, address: 10.0.0.5, port: 7000 }',
      '  - { name: a, address: 10.0.0.7, port: 8000 }',
    )
    assert.deepEqual(
      specs.map(({ name, address, port, rank }) => `${name} ${address} ${port} ${rank}`),
      [
        'a 10.0.0.5 8000 0',
        'a 10.0.0.5 8001 1',
        'b 10.0.0.6 8000 0',
        'a 10.0.0.5 7000 2',
        'a 10.0.0.7 8000 0',
      ],
    )
  })

  it('warns of unknown fields', () => {
    const { specs, warnings } = read(
      'version: 2',
      'endpoints:',
      '  - { name: a, address: 10.0.0.5, port: 1, weight: 3 }',
    )
    assert.equal(specs.length, 1)
    assert.deepEqual(warnings, [
      'e.yaml:1:1  version: unknown field "version" is ignored',
      'e.yaml:3:44  endpoints[0].weight: unknown field "weight" is ignored',
    ])
  })

  it('names every problem with its place', () => {
    assert.deepEqual(
      errors(
        'endpoints:',
        '  - { address: 10.0.0.5, port: 1 }',
        '  - { name: a, address: vllm.example.com, port: 0 }',
        '  - { name: b, address: 10.0.0.300, port: 1.5, labels: { zone: 1 } }',
        '  - { name: c, port: [] }',
        '  - { name: d, address: 10.0.0.5, port: 1, ports: [2] }',
        '  - { name: e, address: 10.0.0.5, ports: [] }',
        '  - { name: f, address: 10.0.0.5 }',
        '  - { name: g, address: 10.0.0.5, ports: [7, 70000] }',
        '  - text',
        '  - { name: 7, namespace: "", address: 10.0.0.5, port: 8, labels: [], metricsPort: x }',
      ),
      [
        '2:5  endpoints[0]: "name" is missing',
        '3:25  endpoints[1].address: "vllm.example.com" is a host name; give its IP address',
        '3:49  endpoints[1].port: must be a port from 1 to 65535, got 0',
        '4:25  endpoints[2].address: "10.0.0.300" is no IP address; give one such as 10.0.0.5 or [fd00::5]',
        '4:43  endpoints[2].port: must be a port from 1 to 65535, got 1.5',
        '4:64  endpoints[2].labels.zone: must be a string (write it in quotes), got 1',
        '5:5  endpoints[3]: "address" is missing',
        '5:22  endpoints[3].port: must be a port from 1 to 65535, got []',
        '6:51  endpoints[4].ports: "ports" beside "port"; keep one',
        '7:42  endpoints[5].ports: must be a list of ports, one per rank',
        '8:5  endpoints[6]: "port" is missing',
        '9:46  endpoints[7].ports[1]: must be a port from 1 to 65535, got 70000',
        '10:5  endpoints[8]: must be an object, got "text"',
        '11:13  endpoints[9].name: must be a string of 1 to 253 characters, got 7',
        '11:27  endpoints[9].namespace: must be a string of 1 to 253 characters, got ""',
        '11:67  endpoints[9].labels: must be an object, got []',
        '11:84  endpoints[9].metricsPort: must be a port from 1 to 65535, got "x"',
      ],
    )
  })

  it('refuses an address and port that is there twice, in any spelling', () => {
    assert.deepEqual(
      errors(
        'endpoints:',
        '  - { name: a, address: "fd00::5", ports: [1, 2] }',
        '  - { name: b, address: "[FD00:0::5]", port: 2 }',
        '  - { name: a, address: "fd00::5", port: 1 }',
      ),
      [
        '3:46  endpoints[1].port: [fd00::5]:2 is there already, in line 2; remove one',
        '4:42  endpoints[2].port: [fd00::5]:1 is there already, in line 2; remove one',
      ],
    )
  })

  it('refuses what is no endpoints file', () => {
    const advice = 'must hold a list "endpoints"; for none, write endpoints: []'
    assert.deepEqual(errors(''), [`1:1  ${advice}`])
    assert.deepEqual(errors('- a'), [`1:1  ${advice}`])
    assert.deepEqual(errors('endpoints: {}'), [`1:12  endpoints: ${advice}`])
    assert.deepEqual(errors('endpoint: []'), [`1:1  ${advice}`])
    assert.deepEqual(errors('endpoints: ['), [
      '1:13  not YAML: flow sequence in block collection must be sufficiently indented and end with a ]',
    ])
  })
})
