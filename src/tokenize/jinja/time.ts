import { TemplateError } from './values.ts'

const MONTHS =
  'January February March April May June July August September October November December'.split(' ')
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ')

/** Python's `strftime` in English and local time. @throws {TemplateError} for a directive that is not followed */
export function formatTime(time: Date, format: string): string {
  return format.replace(/%(.?)/gs, (_all, directive: string) => {
    switch (directive) {
      case 'Y':
        return String(time.getFullYear())
      case 'y':
        return two(time.getFullYear() % 100)
      case 'm':
        return two(time.getMonth() + 1)
      case 'd':
        return two(time.getDate())
      case 'H':
        return two(time.getHours())
      case 'I':
        return two(time.getHours() % 12 || 12)
      case 'p':
        return time.getHours() < 12 ? 'AM' : 'PM'
      case 'M':
        return two(time.getMinutes())
      case 'S':
        return two(time.getSeconds())
      case 'B':
        return MONTHS[time.getMonth()]!
      case 'b':
        return MONTHS[time.getMonth()]!.slice(0, 3)
      case 'A':
        return DAYS[time.getDay()]!
      case 'a':
        return DAYS[time.getDay()]!.slice(0, 3)
      case '%':
        return '%'
      default:
        throw new TemplateError(`the directive %${directive} of a date is not followed`)
    }
  })
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
