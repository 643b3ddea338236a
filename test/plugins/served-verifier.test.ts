import assert from 'node:assert/strict'
import { endpoint, request } from '../../src/framework/testing.ts'
import { destinationEndpointServedVerifier } from '../../src/plugins/observers/destination-endpoint-served-verifier.ts'

describe('destination-endpoint-served-verifier', () => {
  const set = (servedEndpoint: string | undefined, status: number | undefined = 200) =>
    destinationEndpointServedVerifier
      .create({}, {})
      .responseHeaders?.(request(), endpoint({ address: '10.0.0.9' }), {
        status,
        headers: new Map([['x-conformance-test-served-endpoint', 'from the server']]),
        servedEndpoint,
      })
      ?.get('x-conformance-test-served-endpoint')

  for (const served of ['10.0.0.1:3000', '[fd00::7]:3000', '10.0.0.1:3000,10.0.0.2:3000']) {
    it(`shows ${served}`, () => assert.equal(set(served), served))
  }

  it('shows it whatever the status', () => {
    assert.equal(set('10.0.0.1:3000', 503), '10.0.0.1:3000')
    assert.equal(set('10.0.0.1:3000', undefined), '10.0.0.1:3000')
  })

  it('says what is missing, and never guesses', () => {
    assert.equal(
      set(undefined),
      'fail: missing metadata x-gateway-destination-endpoint-served in envoy.lb',
    )
  })

  it('has the gateway send responses', () => {
    assert.equal(destinationEndpointServedVerifier.watchesResponses, true)
  })
})
