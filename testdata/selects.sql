-- One SELECT a line. differential_test.go runs each over our tables, with the rows in the
-- buffer, in files and in both, and in plain DuckDB over the same rows. Rows are compared
-- in order if the line ends with its ORDER BY.
SELECT count(*), count(note), count(DISTINCT customer), sum(amount), min(day), max(placed), bool_or(flag), bool_and(flag) FROM orders
SELECT id, customer, amount, note, day, placed, flag, score, tags, doc FROM orders ORDER BY id
SELECT id FROM orders ORDER BY amount DESC NULLS LAST, id
SELECT id FROM orders ORDER BY note COLLATE NOCASE NULLS FIRST, id
SELECT id, amount FROM orders ORDER BY amount NULLS FIRST, id DESC LIMIT 10
SELECT id FROM orders ORDER BY id LIMIT 7 OFFSET 113
SELECT id FROM orders ORDER BY id DESC OFFSET 250
SELECT id FROM orders WHERE id = 17
SELECT id, note FROM orders WHERE id IN (1, 2, 3, 99999, 250)
SELECT id FROM orders WHERE id BETWEEN 40 AND 60
SELECT id FROM orders WHERE id > 390 OR id < 4
SELECT id FROM orders WHERE id >= 100 AND id < 110 AND flag
SELECT id FROM orders WHERE id <> 5 AND id <= 8
SELECT id FROM orders WHERE NOT (id > 10)
SELECT id FROM orders WHERE -id > -5
SELECT id FROM orders WHERE id + 0 = 42
SELECT id FROM orders WHERE 42 = id
SELECT id FROM orders WHERE id = 42 AND customer IS NOT NULL
SELECT id FROM orders WHERE id = '43'
SELECT id FROM orders WHERE id = 44.0
SELECT id FROM orders WHERE id = 44.5
SELECT id FROM orders WHERE note IS NULL
SELECT id FROM orders WHERE note IS NOT DISTINCT FROM NULL AND flag IS DISTINCT FROM TRUE
SELECT id FROM orders WHERE flag IS NULL OR NOT flag
SELECT id FROM orders WHERE flag = TRUE AND score > 0.5
SELECT id FROM orders WHERE note LIKE 'note 1%'
SELECT id FROM orders WHERE note ILIKE '%É%' OR note ILIKE '%NOTE 2%'
SELECT id FROM orders WHERE note NOT LIKE '%1%'
SELECT id FROM orders WHERE note LIKE 'note\_%' ESCAPE '\'
SELECT id FROM orders WHERE note SIMILAR TO 'note [0-9]{2}'
SELECT id, regexp_extract(note, '[0-9]+') FROM orders WHERE regexp_matches(note, '^note [0-9]{2}$')
SELECT id, regexp_replace(note, '[0-9]', '#', 'g') FROM orders WHERE note IS NOT NULL
SELECT id, note[1:4], note[-2:], length(note), upper(note), lower(note), reverse(note) FROM orders
SELECT id, note || '-' || id, concat(note, NULL, id), concat_ws('/', note, day) FROM orders
SELECT id, substr(note, 2, 3), left(note, 2), right(note, 2), trim('  x '), position('e' IN note), starts_with(note, 'n') FROM orders
SELECT id, split_part(note, ' ', 2), string_split(note, ' '), contains(note, '7'), ascii(note), md5(note) FROM orders
SELECT id, coalesce(note, 'none'), nullif(note, 'note 7'), ifnull(amount, 0), CASE WHEN amount > 50 THEN 'big' WHEN amount IS NULL THEN NULL ELSE 'small' END FROM orders
SELECT id, CASE customer WHEN 1 THEN 'one' WHEN 2 THEN 'two' END FROM orders
SELECT id, amount * 2, amount + 0.01, -amount, abs(amount), round(amount, 1), amount / 3, amount % 7 FROM orders
SELECT id, id // 7, id % 7, id / 4, id ** 2, id & 6, id | 1, xor(id::INT, 5), id << 2 FROM orders
SELECT id, round(score, 3), floor(score), ceil(score), sqrt(abs(score)), ln(abs(score) + 1), sign(score), greatest(score, 0.3), least(score, 0.3) FROM orders
SELECT id, CAST(amount AS INT), CAST(id AS TEXT), TRY_CAST(note AS INT), CAST(day AS TIMESTAMP), CAST(placed AS DATE), CAST(flag AS INT) FROM orders
SELECT id, day + 1, day - DATE '2026-01-01', day + INTERVAL 1 MONTH, date_trunc('month', day), extract(dow FROM day), dayname(day), last_day(day) FROM orders
SELECT id, date_trunc('hour', placed), extract(epoch FROM placed), date_part('minute', placed), placed::TIME, strftime(placed, '%Y/%m/%d %H'), date_diff('day', placed, TIMESTAMP '2026-06-01') FROM orders
SELECT id, year(day), month(placed), quarter(day), week(day), dayofyear(day), make_date(2026, 1 + (id % 12)::INT, 1) FROM orders
SELECT id FROM orders WHERE day BETWEEN DATE '2026-01-10' AND DATE '2026-01-20'
SELECT id FROM orders WHERE placed >= '2026-01-01 05:00:00' AND placed < '2026-01-01 09:00:00'
SELECT id FROM orders WHERE day IN ('2026-01-03', '2026-01-04')
SELECT time_bucket(INTERVAL 2 HOUR, placed) AS b, count(*) FROM orders GROUP BY b ORDER BY b
SELECT id, tags[1], tags[-1], len(tags), list_contains(tags, 'red'), list_sort(tags), list_reverse(tags), list_distinct(tags) FROM orders
SELECT id, list_transform(tags, x -> upper(x)), list_filter(tags, x -> x <> 'red'), list_concat(tags, ['z']), array_to_string(tags, ',') FROM orders
SELECT id, [x || '!' FOR x IN tags IF x <> 'red'] FROM orders
SELECT id, unnest(tags) AS tag FROM orders
SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag FROM orders) GROUP BY tag ORDER BY tag
SELECT o.id, u.tag FROM orders o, unnest(o.tags) AS u(tag) WHERE u.tag = 'blue'
SELECT id FROM orders WHERE 'red' = ANY (tags)
SELECT id FROM orders WHERE list_has_any(tags, ['red', 'green'])
SELECT id, tags[1:2], list_position(tags, 'blue'), list_slice(tags, 2, 3), list_aggregate(tags, 'max') FROM orders
SELECT customer, list(id ORDER BY id), string_agg(note, '|' ORDER BY id), array_agg(id ORDER BY id DESC) FROM orders GROUP BY customer ORDER BY customer NULLS LAST
SELECT id, doc->'a', doc->>'a', doc->'$.b[0]', json_extract_string(doc, '$.c'), json_type(doc), json_array_length(doc->'b') FROM orders
SELECT id FROM orders WHERE (doc->>'a')::INT > 5
SELECT doc->>'c' AS c, count(*) FROM orders GROUP BY c ORDER BY c NULLS LAST
SELECT id, json_valid(note), json_keys(doc) FROM orders WHERE doc IS NOT NULL
SELECT customer, count(*), sum(amount), avg(amount), min(note), max(note) FROM orders GROUP BY customer
SELECT customer, count(*) AS n FROM orders GROUP BY ALL HAVING n > 40 ORDER BY n DESC, customer
SELECT customer, flag, count(*) FROM orders GROUP BY 1, 2
SELECT customer, flag, sum(amount) FROM orders GROUP BY ROLLUP (customer, flag)
SELECT customer, flag, sum(amount), grouping(customer), grouping(flag) FROM orders GROUP BY CUBE (customer, flag)
SELECT customer, day, count(*) FROM orders GROUP BY GROUPING SETS ((customer), (day), ())
SELECT sum(amount) FILTER (WHERE flag), count(*) FILTER (WHERE note IS NULL), count(*) FILTER (WHERE FALSE) FROM orders
SELECT customer, median(amount), quantile_cont(score, 0.25), quantile_disc(amount, [0.1, 0.9]), stddev_samp(score), var_pop(score) FROM orders GROUP BY customer
SELECT arg_max(id, amount), arg_min(note, id), first(id ORDER BY id), last(id ORDER BY id), any_value(customer) IS NOT NULL, product(1.0), bit_xor(id), count_if(flag) FROM orders
SELECT customer, approx_count_distinct(id) > 0, corr(score, id), covar_pop(score, id), regr_slope(score, id), kurtosis(id), entropy(id) FROM orders GROUP BY customer
SELECT cardinality(histogram(customer)), map_keys(histogram(customer)) FROM orders WHERE id < 20
SELECT sum(DISTINCT customer), avg(DISTINCT customer), count(DISTINCT (customer, flag)) FROM orders
SELECT count(*) FROM orders WHERE FALSE
SELECT sum(amount), max(id), list(id) FROM orders WHERE id < 0
SELECT customer, sum(amount) FROM orders WHERE id < 0 GROUP BY customer
SELECT DISTINCT customer FROM orders
SELECT DISTINCT ON (customer) customer, id FROM orders ORDER BY customer, id
SELECT DISTINCT flag, customer IS NULL FROM orders
SELECT id, row_number() OVER (ORDER BY id), rank() OVER (ORDER BY customer), dense_rank() OVER (ORDER BY customer), ntile(4) OVER (ORDER BY id) FROM orders
SELECT id, sum(amount) OVER (PARTITION BY customer ORDER BY id), avg(amount) OVER (ORDER BY id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM orders
SELECT id, lag(note) OVER w, lead(note, 2, 'end') OVER w, first_value(id) OVER w, last_value(id) OVER w, nth_value(id, 2) OVER w FROM orders WINDOW w AS (PARTITION BY customer ORDER BY id)
SELECT id, count(*) OVER (ORDER BY day RANGE BETWEEN INTERVAL 2 DAYS PRECEDING AND INTERVAL 2 DAYS FOLLOWING) FROM orders
SELECT id, sum(id) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING EXCLUDE CURRENT ROW) FROM orders
SELECT id, percent_rank() OVER (ORDER BY amount, id), cume_dist() OVER (ORDER BY amount, id) FROM orders
SELECT id, customer FROM orders QUALIFY row_number() OVER (PARTITION BY customer ORDER BY amount DESC NULLS LAST, id) <= 2
SELECT customer, sum(amount), sum(sum(amount)) OVER (ORDER BY customer NULLS FIRST) FROM orders GROUP BY customer
SELECT max(id) OVER (PARTITION BY flag) - id FROM orders
SELECT o.id, c.name FROM orders o JOIN customers c ON c.cid = o.customer
SELECT o.id, c.name FROM orders o LEFT JOIN customers c ON c.cid = o.customer AND c.region = 'north'
SELECT o.id, c.name FROM orders o RIGHT JOIN customers c ON c.cid = o.customer WHERE o.id IS NULL OR o.id < 20
SELECT o.id, c.cid FROM orders o FULL JOIN customers c ON c.cid = o.customer AND o.id < 50 ORDER BY o.id NULLS FIRST, c.cid NULLS FIRST
SELECT count(*) FROM orders o LEFT JOIN customers c ON c.cid = o.customer WHERE c.cid IS NULL
SELECT o.id FROM orders o LEFT JOIN customers c ON c.cid = o.customer WHERE c.cid = 2
SELECT c.name FROM customers c SEMI JOIN orders o ON o.customer = c.cid AND o.amount > 90
SELECT c.name FROM customers c ANTI JOIN orders o ON o.customer = c.cid
SELECT count(*) FROM customers a CROSS JOIN customers b
SELECT a.cid, b.cid FROM customers a JOIN customers b ON a.cid < b.cid WHERE a.region = b.region
SELECT a.id, b.id FROM orders a JOIN orders b ON b.id = a.id + 1 AND b.customer = a.customer WHERE a.id < 100
SELECT c.name, r.rate FROM customers c JOIN rates r USING (region) WHERE r.year = 2025
SELECT name, rate, region FROM customers NATURAL JOIN rates
SELECT c.name, r.year, r.rate FROM customers c, rates r WHERE c.region = r.region AND r.year BETWEEN 2024 AND 2025
SELECT o.id, r.rate FROM orders o JOIN customers c ON c.cid = o.customer JOIN rates r ON r.region = c.region AND r.year = year(o.day) WHERE o.id % 5 = 0
SELECT o.id, r.year FROM (SELECT id, 2020 + (id % 9)::INT AS y FROM orders) o ASOF JOIN (SELECT year FROM rates WHERE region = 'north') r ON o.y >= r.year
SELECT c.name, t.n FROM customers c, LATERAL (SELECT count(*) AS n FROM orders o WHERE o.customer = c.cid) t
SELECT c.name, (SELECT max(amount) FROM orders o WHERE o.customer = c.cid) FROM customers c
SELECT id FROM orders WHERE customer IN (SELECT cid FROM customers WHERE region = 'north')
SELECT id FROM orders WHERE customer NOT IN (SELECT cid FROM customers WHERE region = 'north')
SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM customers c WHERE c.cid = o.customer AND c.region = 'south')
SELECT id FROM orders o WHERE NOT EXISTS (SELECT 1 FROM customers c WHERE c.cid = o.customer)
SELECT id FROM orders WHERE amount > ALL (SELECT amount FROM orders WHERE customer = 1 AND amount IS NOT NULL)
SELECT id FROM orders WHERE amount = ANY (SELECT amount FROM orders WHERE customer = 1)
SELECT id FROM orders o WHERE amount > (SELECT avg(amount) FROM orders i WHERE i.customer = o.customer)
SELECT id FROM orders WHERE (customer, flag) IN (SELECT cid, TRUE FROM customers)
SELECT id FROM orders WHERE id = (SELECT max(id) FROM orders)
SELECT id FROM orders UNION SELECT cid FROM customers
SELECT customer FROM orders UNION ALL SELECT cid FROM customers
SELECT customer FROM orders INTERSECT SELECT cid FROM customers
SELECT cid FROM customers EXCEPT SELECT customer FROM orders
SELECT cid FROM customers EXCEPT ALL SELECT customer FROM orders WHERE id < 5
SELECT cid AS a, NULL AS b FROM customers UNION ALL BY NAME SELECT id AS b FROM orders WHERE id < 10
(SELECT id FROM orders ORDER BY id LIMIT 3) UNION ALL (SELECT id FROM orders ORDER BY id DESC LIMIT 3)
WITH big AS (SELECT id, customer FROM orders WHERE amount > 80) SELECT c.name, count(*) FROM big JOIN customers c ON c.cid = big.customer GROUP BY c.name
WITH a AS (SELECT cid FROM customers), b AS (SELECT cid FROM a WHERE cid > 2) SELECT count(*) FROM a, b
WITH orders AS (SELECT 1 AS id) SELECT id FROM orders
WITH o AS MATERIALIZED (SELECT id, amount FROM orders) SELECT x.id FROM o x JOIN o y ON x.amount = y.amount AND x.id < y.id
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT i, (SELECT count(*) FROM orders WHERE customer = i) FROM n ORDER BY i
SELECT t.a, t.b FROM (VALUES (1, 'x'), (2, 'y')) t(a, b) JOIN customers c ON c.cid = t.a
SELECT r.range, count(o.id) FROM range(5) r LEFT JOIN orders o ON o.customer = r.range GROUP BY 1
SELECT g, g::DATE FROM generate_series(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-03', INTERVAL 12 HOUR) t(g)
FROM orders SELECT id WHERE id < 5
SELECT region, year, rate FROM rates ORDER BY region, year
SELECT rate FROM rates WHERE region = 'north' AND year = 2024
SELECT rate FROM rates WHERE region = 'north'
SELECT rate FROM rates WHERE year = 2024
SELECT rate FROM rates WHERE region >= 'm' AND year > 2023
SELECT rate FROM rates WHERE (region, year) = ('south', 2025)
SELECT year, max(rate) FILTER (WHERE region = 'north') AS north, max(rate) FILTER (WHERE region = 'south') AS south FROM rates GROUP BY year ORDER BY year
PIVOT (SELECT region, year, rate FROM rates) ON year IN (2023, 2024) USING sum(rate) GROUP BY region
SELECT region, k, v FROM (UNPIVOT (SELECT region, year::DOUBLE AS y, rate FROM rates) ON y, rate INTO NAME k VALUE v)
SELECT id AS "Order Id", note AS "select" FROM orders WHERE id < 3
SELECT "O"."id", ORDERS."id" AS again, o.ID FROM (SELECT id FROM orders) o, orders WHERE o.id = orders.id AND o.id < 4
SELECT id + 1 AS next, next * 2 AS twice FROM orders WHERE next < 5
SELECT id FROM orders -- a comment with ' and ;
SELECT /* id, */ id FROM orders WHERE note = 'it''s; -- not a comment'
SELECT 'a;b' AS x, $$c'd$$ AS y, E'\t' AS z, id FROM orders WHERE id = 1
SELECT struct_pack(a := id, b := note).b FROM orders WHERE id < 9
SELECT {'a': id, 'b': amount}.a FROM orders WHERE id < 9
SELECT id, hash(id) = hash(id), id::HUGEINT * 1000000000000000000000 FROM orders WHERE id < 5
SELECT id, amount::DOUBLE, score::DECIMAL(10,3), flag::TEXT, day::TEXT, placed::TEXT, tags::TEXT FROM orders
SELECT sum(id), sum(score), avg(score), sum(flag::INT), fsum(score) FROM orders
SELECT count(*) FROM orders TABLESAMPLE 100 PERCENT
SELECT id FROM orders WHERE customer IS NULL AND note IS NULL AND amount IS NULL
SELECT min(id), max(id), count(*) FROM orders WHERE id > 100 GROUP BY id % 10 HAVING count(*) > 3
SELECT typeof(id), typeof(amount), typeof(note), typeof(day), typeof(placed), typeof(flag), typeof(score), typeof(tags), typeof(doc) FROM orders LIMIT 1
SELECT max(note), min(note) FROM orders WHERE note > 'm'
SELECT note, count(*) FROM orders WHERE note IN ('note 7', 'ünïcode 😀', '', 'x') GROUP BY note
SELECT id, levenshtein_is_not_used FROM (SELECT id, 1 AS levenshtein_is_not_used FROM orders) WHERE id < 3
SELECT id, printf('%05d', id), format('{}-{}', id, customer), lpad(id::TEXT, 5, '0'), chr(65 + (id % 26)::INT) FROM orders WHERE id < 30
SELECT o.id FROM orders AS o POSITIONAL JOIN range(3) WHERE o.id IS NULL
SELECT id FROM orders WHERE CASE WHEN flag THEN id > 300 ELSE id < 20 END
SELECT sum(c) FROM (SELECT customer, count(*) AS c FROM orders GROUP BY customer)
SELECT id, sum(id) OVER (PARTITION BY customer % 2 ORDER BY id GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM orders WHERE customer IS NOT NULL
SELECT list(DISTINCT customer ORDER BY customer) FROM orders
SELECT max_by(note, id, 3), min_by(id, amount) FROM orders WHERE note IS NOT NULL AND amount IS NOT NULL
SELECT day, lag(day) OVER (ORDER BY day, id) IS NOT DISTINCT FROM day FROM orders
