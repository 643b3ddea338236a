import fc from 'fast-check'

/** Variables that generated templates read. */
export const SNIPPET_VARIABLES = {
  text: ' \ufeff\u0085Some <b>Text</b>\n\n  of "two" lines\t\u001f ',
  word: 'größe',
  emoji: 'a👩‍👧b🇫🇷',
  empty: '',
  digits: '12',
  whole: 3,
  below: -7,
  yes: true,
  no: false,
  nothing: null,
  list: ['b', 'A', 'c', 'a', 'B'],
  numbers: [3, -1, 2, 2, true],
  mixed: ['x', 1, null, true, [1, 'y'], { k: 'v' }],
  dict: { b: 1, A: 'x', items: [1], get: null, z: { y: ['w'] } },
  dicts: [{ n: 'x', v: 2 }, { n: 'Y', v: 1 }, { n: 'a' }, { v: null, n: 'q' }],
  none_list: [],
}

const name = fc.constantFrom(...Object.keys(SNIPPET_VARIABLES), 'missing')

const literal = fc.constantFrom(
  ...[
    "'a'",
    '"b\\n"',
    "''",
    "'<\\t>'",
    "'\\x41é'",
    '0',
    '1',
    '-2',
    '10',
    '1.0',
    '2.5',
    'true',
    'false',
    'none',
  ],
  ...[
    'True',
    'None',
    '[]',
    "['a', 'b']",
    "('x', 1)",
    "{'k': 1, 'a': [2]}",
    '[1, none]',
    "' \\n'",
    "'o'",
  ],
)

const FILTERS = [
  ...[
    'trim',
    'upper',
    'lower',
    'title',
    'capitalize',
    'length',
    'list',
    'first',
    'last',
    'reverse',
    'string',
  ],
  ...[
    'tojson',
    'tojson(indent=2)',
    'tojson(sort_keys=true)',
    'tojson(ensure_ascii=True)',
    "tojson(separators=(',', ':'))",
  ],
  ...[
    'int',
    'int(5)',
    'float',
    'abs',
    'items',
    'dictsort',
    "dictsort(false, 'value')",
    'sort',
    'sort(reverse=true)',
  ],
  ...[
    "sort(attribute='n')",
    'sort(case_sensitive=true)',
    'unique',
    'min',
    'max',
    'sum',
    'safe',
    'e',
    'escape',
    'count',
    'join',
    "join(', ')",
  ],
  ...[
    "join('-', attribute='n')",
    "default('d')",
    "default('d', true)",
    "d('x')",
    "replace('o', '0')",
    "replace('', '.')",
  ],
  ...[
    "replace('e', 'E', 1)",
    'indent',
    'indent(2, true)',
    "indent(width='> ', blank=true)",
    "map('upper')",
    "map(attribute='n')",
  ],
  ...[
    "map(attribute='v', default='-')",
    "select('string')",
    "reject('none')",
    "selectattr('v')",
    "selectattr('v', 'defined')",
  ],
  ...[
    "selectattr('n', 'equalto', 'x')",
    "rejectattr('v', 'none')",
    "selectattr('v', 'in', [1, 2])",
    'tojson|trim',
    'list|length',
  ],
  ...[
    "trim(' \\n')",
    "map('trim')|join",
    "map('tojson')|list",
    'select|list',
    'items|list',
    'batch(2)',
    'random_filter',
  ],
]

const METHODS = [
  ...[
    'strip()',
    "strip('\\n')",
    "lstrip(' ')",
    "rstrip('\\t ')",
    'split()',
    "split('o')",
    "split(' ', 1)",
    'split(none, 1)',
  ],
  ...[
    "rsplit(' ', 1)",
    'splitlines()',
    'splitlines(true)',
    "startswith('S')",
    "startswith(('a', ' '))",
    "endswith('s')",
  ],
  ...[
    'upper()',
    'lower()',
    'title()',
    'capitalize()',
    "replace('o', '')",
    "replace('o', 'x', 1)",
    "find('o')",
    "rfind('o')",
  ],
  ...[
    "count('o')",
    "join(['a', 'b'])",
    "partition(' ')",
    "rpartition('t')",
    'isdigit()',
    'isspace()',
    'isalpha()',
    'isupper()',
  ],
  ...[
    "removeprefix('a')",
    "removesuffix(' ')",
    "index('o')",
    'items()',
    'keys()',
    'values()',
    "get('b')",
    "get('q', 'r')",
  ],
  ...[
    "ljust(9, '.')",
    'rjust(9)',
    'copy()',
    "append('x')",
    "pop('b')",
    'foo()',
    'islower()',
    'encode()',
  ],
]

const TESTS = [
  ...[
    'defined',
    'undefined',
    'none',
    'string',
    'number',
    'integer',
    'float',
    'boolean',
    'mapping',
    'sequence',
    'iterable',
  ],
  ...[
    'true',
    'false',
    'odd',
    'even',
    'lower',
    'upper',
    'callable',
    'not defined',
    'not none',
    'not string',
  ],
]

const ACCESS = [
  ...[
    '.n',
    '.items',
    '.get',
    '.b',
    "['b']",
    "['items']",
    '[0]',
    '[-1]',
    '[1:]',
    '[:-1]',
    '[::-1]',
    '[:2]',
    '[5]',
    '.z.y',
  ],
  ...["['q']", '.length', '.0', '[::2]', '[-3:-1]', '[1:99]', '[none:1]', '[yes]'],
]

const OPERATORS = [
  '+',
  '-',
  '*',
  '/',
  '//',
  '%',
  '**',
  '~',
  '==',
  '!=',
  '<',
  '<=',
  '>',
  '>=',
  'in',
  'not in',
  'and',
  'or',
]

export const expression: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: 'medium' },
    { weight: 4, arbitrary: name },
    { weight: 2, arbitrary: literal },
    {
      weight: 4,
      arbitrary: fc
        .tuple(tie('value'), fc.constantFrom(...FILTERS))
        .map(([of, one]) => `(${of})|${one}`),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(tie('value'), fc.constantFrom(...METHODS))
        .map(([of, one]) => `(${of}).${one}`),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(tie('value'), fc.constantFrom(...ACCESS))
        .map(([of, one]) => `(${of})${one}`),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(tie('value'), fc.constantFrom(...TESTS))
        .map(([of, one]) => `(${of}) is ${one}`),
    },
    {
      weight: 4,
      arbitrary: fc
        .tuple(tie('value'), fc.constantFrom(...OPERATORS), tie('value'))
        .map(([a, operator, b]) => `(${a}) ${operator} (${b})`),
    },
    { weight: 1, arbitrary: tie('value').map((of) => `not (${of})`) },
    { weight: 1, arbitrary: tie('value').map((of) => `-(${of})`) },
    {
      weight: 1,
      arbitrary: fc
        .tuple(tie('value'), tie('value'), tie('value'))
        .map(([a, b, c]) => `(${a}) if (${b}) else (${c})`),
    },
    {
      weight: 1,
      arbitrary: fc.tuple(tie('value'), tie('value')).map(([a, b]) => `((${a}) if (${b}))`),
    },
    { weight: 1, arbitrary: fc.tuple(tie('value'), tie('value')).map(([a, b]) => `[${a}, ${b}]`) },
  ),
})).value

const open = fc.constantFrom('{%', '{%-', ' {%', '\n  {%', '\n{%-')
const close = fc.constantFrom('%}', '-%}', '%}\n', '%} \n ', '-%}\n\n')
const words = fc.constantFrom(
  '',
  ' ',
  'text',
  '\n',
  ' \n  x\n',
  '{# note #}',
  '{#- note -#}\n',
  '} ',
  "it's \\n",
  '\t',
)

/** Statements over three variables that outer and inner blocks set. */
export const snippet: fc.Arbitrary<string> = fc
  .letrec<{ block: string; part: string }>((tie) => {
    const tag = (text: fc.Arbitrary<string>): fc.Arbitrary<string> =>
      fc.tuple(open, text, close).map(([before, inner, after]) => `${before} ${inner} ${after}`)
    const plain = (text: string): fc.Arbitrary<string> => tag(fc.constant(text))
    const variable = fc.constantFrom('x', 'y', 'word', 'loop.index', 'ns.a', 'i', 'loop.last')
    const target = fc.constantFrom('x', 'y', 'ns.a', 'word')
    const value = fc.oneof(
      variable,
      fc.constantFrom("'1'", "x ~ 'z'", 'word', 'list', 'loop.length', 'ns.a ~ y'),
    )
    const joined = (...parts: readonly fc.Arbitrary<string>[]): fc.Arbitrary<string> =>
      fc.tuple(...parts).map((all) => all.join(''))
    const condition = fc.constantFrom(
      'x',
      'y is defined',
      'loop.first',
      'yes',
      'i == "A"',
      'not x',
      'ns.a',
      'loop.index is odd',
    )
    return {
      part: fc.oneof(
        { maxDepth: 4 },
        words,
        fc
          .tuple(fc.constantFrom('{{', '{{-'), variable, fc.constantFrom('}}', '-}}', '}}\n'))
          .map((all) => all.join(' ')),
        tag(fc.tuple(target, value).map(([to, from]) => `set ${to} = ${from}`)),
        joined(
          tag(condition.map((one) => `if ${one}`)),
          tie('block'),
          plain('else'),
          tie('block'),
          plain('endif'),
        ),
        joined(
          tag(condition.map((one) => `if ${one}`)),
          tie('block'),
          plain('elif no'),
          words,
          plain('endif'),
        ),
        joined(
          tag(
            fc.constantFrom(
              'for i in list',
              'for i in list if i != "A"',
              'for i in missing',
              'for i, x in dict.items()',
              'for i in word',
              'for i in none_list',
            ),
          ),
          tie('block'),
          fc.constantFrom('', '{% else %}none'),
          plain('endfor'),
        ),
        joined(
          tag(condition.map((one) => `if ${one}`)),
          fc.constantFrom('{% break %}', '{% continue %}'),
          plain('endif'),
        ),
        joined(
          tag(target.filter((one) => !one.includes('.')).map((one) => `set ${one}`)),
          tie('block'),
          plain('endset'),
        ),
        joined(
          tag(fc.constantFrom("macro m(x, y='d')", 'macro m(i)')),
          tie('block'),
          plain('endmacro'),
          fc.constantFrom('{{ m(1) }}', "{{ m('a') }}", ''),
        ),
        joined(plain('filter upper'), tie('block'), plain('endfilter')),
        joined(plain('generation'), words, plain('endgeneration')),
      ),
      block: fc.array(tie('part'), { maxLength: 3 }).map((parts) => parts.join('')),
    }
  })
  .block.map((block) => `{% set ns = namespace(a=0) %}${block}{{ x }}|{{ y }}|{{ ns.a }}`)
