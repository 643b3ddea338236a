import assert from 'node:assert/strict'
import { Cancellation } from '../../src/framework/cancellation.ts'

describe('Cancellation', () => {
  it('has one signal, which fires with it', () => {
    const cancellation = new Cancellation()
    const { signal } = cancellation
    assert.equal(cancellation.signal, signal)
    assert.deepEqual([cancellation.isCancelled, signal.aborted], [false, false])
    let fired = 0
    signal.addEventListener('abort', () => fired++)
    const reason = new Error('gone')
    cancellation.cancel(reason)
    cancellation.cancel(new Error('again'))
    assert.deepEqual([cancellation.isCancelled, signal.aborted, fired], [true, true, 1])
    assert.equal(signal.reason, reason)
  })

  it('has a signal that has fired where it is asked for late', () => {
    const cancellation = new Cancellation()
    cancellation.cancel()
    assert.equal(cancellation.signal.aborted, true)
    assert.equal((cancellation.signal.reason as Error).name, 'AbortError')
  })

  it('follows a signal, and may be cancelled without it', () => {
    assert.equal(Cancellation.following(AbortSignal.abort()).isCancelled, true)
    const other = new AbortController()
    const [one, two] = [Cancellation.following(other.signal), Cancellation.following(other.signal)]
    one.cancel()
    assert.deepEqual([one.isCancelled, two.isCancelled, other.signal.aborted], [true, false, false])
    other.abort('over')
    assert.deepEqual([two.isCancelled, two.signal.reason], [true, 'over'])
  })
})
