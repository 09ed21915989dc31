"""The questions and answers that make_capitals.py fills in, and those that fit no template.

A template is "question => answer / answer"; "~" marks a question typed in haste. {d} stands for
"of the country or state", {o} for its name, {n} for "in it", {c} for the capital, {b} for the
capital without article; a capital letter starts a sentence.
"""

CAPITAL_OF = (
    "Qual é a capital {d}? => {C}. / A capital {d} é {c}.",
    "Qual a capital {d}? => {C}. / É {c}.",
    "Capital {d}? => {C}.",
    "Você sabe qual é a capital {d}? => Sim, é {c}. / A capital {d} é {c}.",
    "Me diga a capital {d}. => {C}. / A capital {d} é {c}.",
    "Que cidade é a capital {d}? => {C}. / {C} é a capital {d}.",
    "Como se chama a capital {d}? => A capital {d} é {c}. / Ela se chama {b}.",
    "Qual é o nome da capital {d}? => {B}.",
    "Diga bem rápido: a capital {d}. => {C}.",
    "Uma pergunta de geografia: qual é a capital {d}? => A capital {d} é {c}. / É {c}.",
    "Preciso da capital {d} para um trabalho da escola. => A capital {d} é {c}.",
    "A capital {d} é {c} ou {wrong}? => {C}. / A capital {d} é {c}.",
    "A capital {d} é {wrong} ou {c}? => É {c}. / {C}.",
    "É verdade que {wrong} é a capital {d}? => Não. A capital {d} é {c}.",
    "{C} é a capital {d}? => Sim, {c} é a capital {d}. / Sim.",
    "Complete: a capital {d} é... => {C}.",
    "~qual eh a capital {d} => {C}. / A capital {d} é {c}.",
    "~capital {d} => {C}. / A capital {d} é {c}.",
    "~vc sabe a capital {d} => Sim, é {c}. / {C}.",
    "~qual a captial {d} => A capital {d} é {c}. / {C}.",
    "~qul é a capital {d} => {C}.",
    "~me fala a capital {d} => {C}.",
)
CAPITAL_WHERE = (
    "{C} é a capital de que país? => {D}. / {C} é a capital {d}.",
    "De que país {c} é a capital? => {D}. / {C} é a capital {d}.",
    "Qual país tem {c} como capital? => {O}. / {C} é a capital {d}.",
    "{C} é capital de qual país? => {D}. / É a capital {d}.",
    "{C}: capital de que país? => {D}.",
    "Você sabe de que país {c} é a capital? => {D}. / Sim, {d}.",
    "~{c} eh capital de q pais => {D}. / É a capital {d}.",
    "~qual pais tem a capital {c} => {O}.",
)
CITY_WHERE = (
    "Em que país fica {c}? => {N}. / {C} fica {n}.",
    "{C} fica em que país? => {N}. / {C} fica {n} e é a capital do país.",
    "Onde fica {c}? => {C} fica {n}. / {N}.",
    "~onde fica {c} => {N}. / {C} fica {n}.",
)
CONTINENT_OF = (
    "Em que continente {fica} {o}? => {Na}. / {O} {fica} {na}.",
    "{O} {fica} em que continente? => {Na}. / {O} {fica} {na}.",
    "Qual é o continente {d}? => {Cont}.",
    "~{o} {fica} em qual continente => {Na}.",
)
CURRENCY_OF = (
    "Qual é a moeda {d}? => {Oc}. / A moeda {d} é {oc}.",
    "Que moeda se usa {n}? => {Oc}. / {N} se usa {oc}.",
    "Com que dinheiro se paga {n}? => Com {oc}.",
    "~qual a moeda {d} => {Oc}.",
)
STATE_CAPITAL_OF = (
    *CAPITAL_OF,
    "Qual cidade é a sede do governo {d}? => {C}.",
    "Qual é a capital do estado com a sigla {uf}? => {C}.",
    "Que cidade abriga o governo {d}? => {C}.",
)
STATE_CAPITAL_WHERE = (
    "{C} é a capital de qual estado? => {D}. / {C} é a capital {d}.",
    "De que estado {c} é a capital? => {D}. / {C} é a capital {d}.",
    "Qual estado tem {c} como capital? => {O}. / {C} é a capital {d}.",
    "Em que estado brasileiro fica {c}? => {N}. / {C} fica {n}.",
    "{C} é capital de que estado brasileiro? => {D}.",
    "~{c} fica em q estado => {N}.",
    "~{c} eh capital de onde => {D}.",
)
REGION_OF = (
    "Em que região do Brasil fica {o}? => No {region}. / {O} fica na região {region}.",
    "{O} fica em que região? => No {region}. / Na região {region}.",
    "{O} faz parte de qual região do país? => Da região {region}.",
    "{O} fica no {region} ou no {other}? => No {region}.",
    "~{o} fica em qual regiao => No {region}. / {O} fica no {region}.",
)
DEMONYM_OF = (
    "Como se chama quem nasce {n}? => {Gent}. / Quem nasce {n} é {gent}.",
    "Quem nasce {n} é o quê? => {Gent}.",
    "Qual é o gentílico {d}? => {Gent}.",
    "Quem é {gent} nasceu em que estado? => {N}.",
    "Quem é chamado de {gent}? => Quem nasce {n}.",
    "~quem nasce {n} eh oq => {Gent}.",
)
ABBREVIATION_OF = (
    "Qual é a sigla {d}? => {uf}. / A sigla {d} é {uf}.",
    "Que sigla se usa para {o}? => {uf}.",
    "A sigla {uf} é de qual estado? => {D}.",
    "Que estado tem a sigla {uf}? => {O}.",
    "No endereço está escrito {uf}. Que estado é esse? => É {o}.",
    "~qual a sigla {d} => {uf}.",
)

SPECIAL = (
    "Qual é a capital da Bolívia? => A capital constitucional é Sucre; o governo fica em La Paz.",
    "A capital da Bolívia é La Paz ou Sucre? => Sucre é a capital oficial, e La Paz é a sede do"
    " governo.",
    "capital da bolivia => Sucre, embora o governo fique em La Paz.",
    "Sucre é a capital de que país? => Da Bolívia.",
    "Quantas capitais tem a África do Sul? => Três: Pretória, Cidade do Cabo e Bloemfontein.",
    "Qual é a capital da África do Sul? => São três: Pretória, Cidade do Cabo e Bloemfontein.",
    "a africa do sul tem mais de uma capital? => Sim, tem três: Pretória, Cidade do Cabo e"
    " Bloemfontein.",
    "Pretória é capital de que país? => Da África do Sul, junto com Cidade do Cabo e Bloemfontein.",
    "Qual é a capital oficial do Sri Lanka? => Sri Jayawardenepura Kotte.",
    "Colombo é a capital do Sri Lanka? => Colombo é a maior cidade; a capital oficial é Sri"
    " Jayawardenepura Kotte.",
    "Qual é a capital de Essuatíni? => Mbabane é a capital administrativa, e Lobamba, a"
    " legislativa.",
    "Mbabane fica em que país? => Em Essuatíni, na África.",
    "Nauru tem capital? => Não oficialmente; o governo fica no distrito de Yaren.",
    "Qual é a capital da Holanda? => Amsterdã, embora o governo fique em Haia.",
    "O governo dos Países Baixos fica em Amsterdã? => Não, fica em Haia. Amsterdã é a capital.",
    "A capital da Austrália é Sydney? => Não. A capital da Austrália é Camberra.",
    "A capital dos Estados Unidos é Nova York? => Não. A capital dos Estados Unidos é Washington.",
    "Istambul é a capital da Turquia? => Não. A capital da Turquia é Ancara.",
    "Toronto é a capital do Canadá? => Não. A capital do Canadá é Ottawa.",
    "O Rio de Janeiro é a capital do Brasil? => Não. A capital do Brasil é Brasília.",
    "São Paulo é a capital do Brasil? => Não. A capital do Brasil é Brasília.",
    "buenos aires é a capital do brasil? => Não. Buenos Aires é a capital da Argentina; a do Brasil"
    " é Brasília.",
    "A Rússia fica em que continente? => Em dois: na Europa e na Ásia.",
    "Em que continente fica a Turquia? => A maior parte fica na Ásia, e uma parte pequena, na"
    " Europa.",
    "O Egito fica em que continente? => Na África, com uma parte na Ásia, a península do Sinai.",
    "Em que unidade da federação fica Brasília? => No Distrito Federal.",
    "Brasília fica em qual estado? => Em nenhum estado: Brasília fica no Distrito Federal.",
    "Em que região do Brasil fica Brasília? => No Centro-Oeste.",
    "O Distrito Federal fica em que região? => Na região Centro-Oeste.",
    "Qual é a sigla do Distrito Federal? => DF.",
    "o q significa DF => Distrito Federal.",
    "Como se chama quem nasce em Brasília? => Brasiliense.",
    "Qual é a capital de São Paulo? => A capital do estado de São Paulo é a cidade de São Paulo.",
    "Qual é a capital do Rio de Janeiro? => A capital do estado é a cidade do Rio de Janeiro.",
    "capital do rio => A capital do estado do Rio de Janeiro é a cidade do Rio de Janeiro.",
    "Quem nasce na cidade de São Paulo é o quê? => Paulistano.",
    "Qual é a diferença entre paulista e paulistano? => Paulista nasce no estado de São Paulo;"
    " paulistano, na cidade de São Paulo.",
    "Quem nasce na cidade do Rio de Janeiro é o quê? => Carioca.",
    "Qual é a diferença entre carioca e fluminense? => Carioca nasce na cidade do Rio de Janeiro;"
    " fluminense, no estado do Rio de Janeiro.",
    "Quantos estados tem o Brasil? => 26 estados e o Distrito Federal.",
    "quantas unidades da federação o brasil tem? => São 27: 26 estados e o Distrito Federal.",
    "Quantas regiões tem o Brasil? => Cinco: Norte, Nordeste, Centro-Oeste, Sudeste e Sul.",
    "Quais são as cinco regiões do Brasil? => Norte, Nordeste, Centro-Oeste, Sudeste e Sul.",
    "Que estados começam com a letra A? => Acre, Alagoas, Amapá e Amazonas.",
)
