import { Type } from 'typebox'
import { SchedulerError } from '../../framework/errors.ts'
import { definePlugin } from '../../framework/plugin.ts'

/** Characters of a client's header that a message repeats. */
const MAX_SHOWN = 64

/** True for what a header can say once the space around it is gone: no control characters but tabs (RFC 9110, section 5.5). */
function isHeaderValue(text: string): boolean {
  return text === text.trim() && !/\p{Cc}/u.test(text.replaceAll('\t', ''))
}

/**
 * Runs the one profile that a request header names; without the header, or with an empty one, the default. The only
 * profile there is runs whatever the header says. A name that no profile has is a client's mistake (BAD_REQUEST).
 */
export const headerProfileHandler = definePlugin({
  kind: 'handler',
  type: 'header-profile-handler',
  description: 'Runs the profile that a request header names.',
  params: Type.Object({
    headerName: Type.String({
      minLength: 1,
      default: 'EPP-Profile',
      description: 'Request header that names a profile, in any case.',
    }),
    defaultProfile: Type.String({
      minLength: 1,
      default: 'decode',
      description: 'Profile of requests without the header.',
    }),
  }),
  lint: ({ headerName, defaultProfile }, { profiles }) => {
    if (profiles.length < 2) {
      const message = 'runs the only profile there is, whatever the header says; remove it'
      return [{ kind: 'warning', path: [], message }]
    }
    if (profiles.includes(defaultProfile)) return []
    return [
      {
        kind: 'warning',
        path: ['defaultProfile'],
        message: `no profile is named "${defaultProfile}", so that requests without the header ${headerName} are refused; name one of: ${profiles.join(', ')}`,
        known: profiles,
      },
    ]
  },
  selects: ({ defaultProfile }, profiles) =>
    profiles.length < 2
      ? profiles
      : profiles.filter((name) => name === defaultProfile || isHeaderValue(name)),
  reads: ({ headerName }) => ({ headers: [headerName] }),
  create: ({ headerName, defaultProfile }) => {
    const header = headerName.toLowerCase()
    return {
      next(request, profiles, results) {
        const named = request.headers.get(header)?.trim() || defaultProfile
        const profile = profiles.length === 1 ? profiles[0]! : named
        if (!profiles.includes(profile)) {
          throw new SchedulerError(
            'BAD_REQUEST',
            `no profile is named "${named.slice(0, MAX_SHOWN)}"; set the header ${headerName} to one of: ${profiles.join(', ')}`,
          )
        }
        return results.has(profile) ? { primary: profile } : { run: [profile] }
      },
    }
  },
})
