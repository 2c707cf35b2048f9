INSERT INTO app.notes VALUES (1, 'milk', false), (2, 'bread', false), (3, 'salt', true), (4, NULL, NULL), (5, 'it''s ☃', true);
INSERT INTO app.types VALUES
 (1, true, -32768, -2147483648, -9223372036854775808, 1.5, 0.1, 1234567.89, -123456789012.345678, 1234567890123456789012345678.9012345678,
  'it''s ☃', 'a\x00\xFF'::BLOB, '2026-02-28', '23:59:59.000001', '2026-02-28 12:00:00.5', '{"a": [1, null], "b": {"c": "d"}}',
  '0190b1c4-0000-7000-8000-000000000001', [1, 2, NULL], ['a', '', NULL], [1.5, -2.5], [true, NULL], [0.5, 1, -2]),
 (2, false, 32767, 2147483647, 9223372036854775807, 'NaN'::FLOAT, '-Infinity'::DOUBLE, -0.01, 0, -0.0000000001,
  '', ''::BLOB, '1969-12-31', '00:00:00', '1969-12-31 23:59:59.999999', '[]', 'ffffffff-ffff-ffff-ffff-ffffffffffff', [], [], [], [], [0, 0, 0]);
INSERT INTO app.types (id) VALUES (3);
INSERT INTO app.items VALUES (1, 'pen', 1.20, 7, 'gone', [1, NULL]), (2, 'ink', NULL, NULL, NULL, NULL);
INSERT INTO app.visits VALUES (1, 'home'), (2, NULL), (3, 'help');
