import assert from 'node:assert/strict'
import { NoticeScope } from '../../src/framework/notice-scope.ts'
import { createNotices } from '../../src/telemetry/notices.ts'

describe('NoticeScope', () => {
  it('takes its own notices away, and sets none afterwards', () => {
    const notices = createNotices(() => 0)
    const scope = new NoticeScope(notices)
    notices.set('other', 'stays')
    scope.set('a', 'one')
    scope.set('b', 'two')
    scope.set('b', undefined)
    assert.deepEqual(
      scope.list().map(({ key }) => key),
      ['a'],
    )
    scope[Symbol.dispose]()
    const next = new NoticeScope(notices)
    next.set('a', 'of the next')
    scope.set('c', 'late')
    scope.set('a', undefined)
    scope[Symbol.dispose]()
    assert.deepEqual(
      notices.list().map(({ key, text }) => [key, text]),
      [
        ['other', 'stays'],
        ['a', 'of the next'],
      ],
    )
  })
})
