UPDATE app.notes SET done = true WHERE id = 2;
DELETE FROM app.notes WHERE id = 3;
INSERT INTO app.notes VALUES (6, 'late', false);
DELETE FROM app.notes WHERE id = 5;
INSERT INTO app.items (id, title, price, n, old, list) VALUES (3, 'box', 99999999.1234, 9007199254740993, '2026-01-01', [70000]);
UPDATE app.items SET title = 'ink 2' WHERE id = 2;
DELETE FROM app.visits WHERE id = 1;
INSERT INTO app.visits VALUES (4, 'late');
