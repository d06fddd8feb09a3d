package teamtalk

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func rows(t *testing.T, dump string) ([]string, error) {
	t.Helper()
	var got []string
	err := scan(strings.NewReader(dump), func(table string) bool { return strings.HasPrefix(table, "T") }, func(r *row) error {
		var line strings.Builder
		line.WriteString(r.table)
		for _, v := range r.values {
			if v.null {
				line.WriteString("|NULL")
			} else {
				line.WriteString(fmt.Sprintf("|%q", v.text))
			}
		}
		got = append(got, line.String())
		var again row
		if err := rowAt(strings.NewReader(dump), r.offset, &again); err != nil || len(again.values) != len(r.values) {
			t.Errorf("row at %d read again: %v, %v", r.offset, again.values, err)
		}
		return nil
	})
	return got, err
}

func TestScan(t *testing.T) {
	const create = "CREATE TABLE `T` (`a` int(11) NOT NULL COMMENT 'one, ''two'') three', `b` varchar(3) DEFAULT ',', PRIMARY KEY (`a`), KEY `k` (`a`,`b`)) ENGINE=InnoDB COMMENT=';';\n"
	for _, c := range []struct {
		name, dump string
		want       []string
	}{
		{"nothing", "", nil},
		{"only comments", "-- x;\n# y;\n/*!40101 SET a=';' */;\n", nil},
		{"one row", create + "INSERT INTO `T` VALUES (1,'x');", []string{`T|"1"|"x"`}},
		{"two rows and two statements", create + "INSERT INTO `T` VALUES (1,'x'),(2,NULL);\nINSERT INTO `T` VALUES\n (3,'z')\n,(4,'');", []string{`T|"1"|"x"`, `T|"2"|NULL`, `T|"3"|"z"`, `T|"4"|""`}},
		{"escapes", create + `INSERT INTO T VALUES (1,'a\'b''c\\d\n\0\Z"),(');`, []string{`T|"1"|"a'b'c\\d\n\x00\x1a\"),("`}},
		{"another quote", create + `INSERT INTO T VALUES (-1.5e3,"a'b""c");`, []string{`T|"-1.5e3"|"a'b\"c"`}},
		{"a blob", create + `INSERT INTO T VALUES (1,0x00FFe4),(2,_binary 'x'),(3,_utf8mb4 'é');`, []string{`T|"1"|"\x00\xff\xe4"`, `T|"2"|"x"`, `T|"3"|"é"`}},
		{"columns named", "INSERT IGNORE INTO `db`.`T` (`b`, a) VALUES ('x',1);", []string{`T|"x"|"1"`}},
		{"replace", create + "REPLACE INTO T VALUE (1,'x');", []string{`T|"1"|"x"`}},
		{"another table", "INSERT INTO `U` VALUES (1,'x;',2);" + create + "LOCK TABLES `T` WRITE;INSERT INTO T VALUES (1,'x');", []string{`T|"1"|"x"`}},
		{"on duplicate", create + "INSERT INTO T VALUES (1,'x') ON DUPLICATE KEY UPDATE b=';';INSERT INTO T VALUES (2,'y');", []string{`T|"1"|"x"`, `T|"2"|"y"`}},
		{"a comment in a row", create + "INSERT INTO T VALUES (1 /* one */,'x');", []string{`T|"1"|"x"`}},
		{"no last semicolon", create + "UNLOCK TABLES", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := rows(t, c.dump)
			if err != nil || strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got %q, %v\nwant %q", got, err, c.want)
			}
		})
	}
	for _, c := range []struct{ name, dump string }{
		{"cut in a string", create + "INSERT INTO T VALUES (1,'x"},
		{"cut in a row", create + "INSERT INTO T VALUES (1,"},
		{"cut between rows", create + "INSERT INTO T VALUES (1,'x')"},
		{"cut in a comment", "/* x"},
		{"unknown columns", "INSERT INTO T VALUES (1,'x');"},
		{"too few values", create + "INSERT INTO T VALUES (1);"},
		{"no comma", create + "INSERT INTO T VALUES (1 'x');"},
		{"no value", create + "INSERT INTO T VALUES (,'x');"},
		{"half a byte", create + "INSERT INTO T VALUES (1,0x0);"},
		{"a value without end", create + "INSERT INTO T VALUES (1,'" + strings.Repeat("x", maxValue+1) + "');"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := rows(t, c.dump); !errors.Is(err, ErrDump) || !strings.Contains(err.Error(), "byte ") {
				t.Errorf("%v", err)
			}
		})
	}
}

func FuzzScan(f *testing.F) {
	f.Add("CREATE TABLE `T` (`a` int, KEY (`a`));INSERT INTO `T` VALUES (1),(2);")
	f.Add("INSERT INTO `T` (`a`) VALUES ('x\\'');-- \n/* */")
	f.Fuzz(func(t *testing.T, dump string) {
		if _, err := rows(t, dump); err != nil && !errors.Is(err, ErrDump) {
			t.Errorf("untyped error %v", err)
		}
	})
}
